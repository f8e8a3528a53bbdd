"""Ports are chosen once and kept, outside the range of source ports."""

import socket
from pathlib import Path

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
