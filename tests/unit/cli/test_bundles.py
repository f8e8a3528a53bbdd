"""`audit bundle` writes what holds, by the keys that were given, and nothing else."""

import hashlib
import stat
from pathlib import Path

import pytest

from libs.tlog.archive import pack
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway
from tests.unit.tlog.incident import SEALER, bundled
from tests.unit.tlog.vectors import LOG
from tests.unit.tlog.worked import INCIDENT

DATA = pack(bundled())
PLACE = "/evidence/x/content"


def serve(gateway: FakeGateway, data: bytes = DATA, named: bytes = DATA) -> None:
    made = {"url": PLACE, "sha256": hashlib.sha256(named).hexdigest(), "length": len(named), "envelope": "e" * 64}
    gateway.answer(f"/evidence/incidents/{INCIDENT}/bundle", {**made, "vkeys": [LOG.vkey, SEALER.vkey]}, 201)
    gateway.answer(PLACE, data)


def test_it_is_written_for_its_owner_alone_once_it_holds(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    serve(gateway)
    out = tmp_path / "one.zip"

    done = run("audit", "bundle", INCIDENT, "-o", str(out))
    again = run("audit", "bundle", INCIDENT, "-o", str(out))

    assert (done.code, out.read_bytes(), stat.S_IMODE(out.stat().st_mode)) == (0, DATA, 0o600)
    assert done.out.startswith("verified to event 7")
    assert f"the log names its envelope {'e' * 64}" in done.out
    assert "keys that the deployment itself names" in done.err
    assert (again.code, len([path for _, path, _, _ in gateway.asked if path == PLACE])) == (2, 1)
    trusted = run("audit", "bundle", INCIDENT, "-o", str(tmp_path / "2.zip"), "--vkey", LOG.vkey, "--vkey", SEALER.vkey)
    assert (trusted.code, trusted.err) == (0, "")


@pytest.mark.parametrize("finding", ["something else", "no signature of a known key", "not a zip"])
def test_what_does_not_hold_is_not_written(run: Run, gateway: FakeGateway, tmp_path: Path, finding: str) -> None:
    keys = ["--vkey", SEALER.vkey] if "signature" in finding else []
    broken = b"PK no zip"
    serve(gateway, *{"something else": (DATA[:-1], DATA), "not a zip": (broken, broken)}.get(finding, ()))

    done = run("audit", "bundle", INCIDENT, "-o", str(tmp_path / "one.zip"), *keys)

    assert (done.code, done.out) == (1, "")
    assert "NOT VERIFIED" in done.err
    assert finding in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    out = tmp_path / "one.zip"
    serve(gateway)
    gateway.answers[PLACE][0].content = lambda _query: (out.write_bytes(b"mine"), DATA)[1]

    done = run("audit", "bundle", INCIDENT, "-o", str(out))

    assert (done.code, out.read_bytes()) == (2, b"mine")
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]
    assert run("audit", "bundle", INCIDENT, "-o", str(tmp_path / "missing" / "one.zip")).code == 2
