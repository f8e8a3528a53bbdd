"""Ports are chosen once and kept, outside the range of source ports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_ranger.stack.ports import EPHEMERAL, Ports


def test_a_port_is_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    first = Ports.load(tmp_path / "ports.json").claim("nats")

    assert Ports.load(tmp_path / "ports.json").claim("nats") == first


def test_names_never_share_a_port(tmp_path: Path) -> None:
    ports = Ports.load(tmp_path / "ports.json")

    assert len({ports.claim(str(number)) for number in range(20)}) == 20


def test_a_stranger_on_a_kept_port_makes_us_choose_another(tmp_path: Path) -> None:
    kept = Ports.load(tmp_path / "ports.json").claim("nats")

    with socket.create_server(("127.0.0.1", kept)):
        assert Ports.load(tmp_path / "ports.json", running=True).claim("nats") == kept
        other = Ports.load(tmp_path / "ports.json").claim("nats")

    assert other != kept
    assert Ports.load(tmp_path / "ports.json").claim("nats") == other


def test_two_stacks_never_choose_the_same_port_though_nobody_listens_on_it(tmp_path: Path) -> None:
    one, other = Ports.load(tmp_path / "one.json"), Ports.load(tmp_path / "other.json")
    wished = one.claim("gateway")

    assert other.claim("gateway", prefer=wished) != wished
    one.release()
    assert Ports.load(tmp_path / "third.json").claim("gateway", prefer=wished) == wished


def test_another_process_keeps_away_from_a_port_that_is_held(tmp_path: Path) -> None:
    kept = Ports.load(tmp_path / "ports.json").claim("gateway")
    program = (
        "import sys, pathlib; from runbook_ranger.stack.ports import Ports;"
        "print(Ports.load(pathlib.Path(sys.argv[1])).claim('gateway', prefer=int(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "other.json"), str(kept)]

    env = {"PYTHONPATH": ":".join(sys.path)}
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=env)

    assert int(said.stdout) != kept


@pytest.mark.parametrize("trap", ["link", "open to others"])
def test_a_folder_of_locks_that_others_may_have_laid_is_left_alone(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, theirs = tmp_path / "shared", tmp_path / "theirs"
    shared.mkdir()
    theirs.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    folder = shared / f"runbook-ranger-ports-{os.getuid()}"
    if trap == "link":
        folder.symlink_to(theirs)
    else:
        folder.mkdir()
        folder.chmod(0o777)

    port = Ports.load(tmp_path / "ports.json").claim("nats")

    assert Ports.load(tmp_path / "ports.json").claim("nats") == port
    assert list(folder.iterdir()) == []


def test_no_port_lies_where_the_kernel_takes_source_ports(tmp_path: Path) -> None:
    lowest = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32768
    ports = Ports.load(tmp_path / "ports.json")

    assert all(ports.claim(str(number)) < lowest for number in range(50))


def test_a_wished_port_is_taken_when_it_is_free(tmp_path: Path) -> None:
    ports = Ports.load(tmp_path / "ports.json")
    wished = ports.claim("probe")
    del ports.kept["probe"]

    assert ports.claim("gateway", prefer=wished) == wished
    assert ports.claim("another", prefer=wished) != wished
