"""What processes say is kept, rotated, shown by name, and can be followed."""

import os
import selectors
from pathlib import Path

import pytest

from runbook_ranger.stack.console import Console, Log, Voice, prefixed
from runbook_ranger.stack.tail import Tail, follow, logs


def test_a_log_keeps_two_files_of_its_limit(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.log", limit=10)
    for line in (b"one 45678\n", b"two 45678\n", b"three\n", b"four\n"):
        log.write(line)
    log.close()

    assert (tmp_path / "a.log.1").read_bytes() == b"one 45678\ntwo 45678\n"
    assert (tmp_path / "a.log").read_bytes() == b"three\nfour\n"


def test_lines_are_kept_whole_although_they_arrive_in_pieces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with selectors.DefaultSelector() as selector:
        console = Console(tmp_path, selector, echo=True, width=4)
        writing = console.pipe("gate")
        voice = next(iter(selector.get_map().values())).data
        assert isinstance(voice, Voice)

        os.write(writing, b"hal")
        console.hear(voice)
        os.write(writing, b"f\nwithout end")
        console.hear(voice)
        os.close(writing)
        console.hear(voice)

        assert not selector.get_map()
        console.close()
    assert (tmp_path / "gate.log").read_text() == "half\nwithout end\n"
    assert capsys.readouterr().out == "gate | half\ngate | without end\n"


def test_names_are_coloured_for_people_only() -> None:
    assert prefixed("nats", 0, 6, colour=False) == "nats   | "
    assert prefixed("nats", 0, 6, colour=True) == "\x1b[36mnats   | \x1b[0m"
    assert prefixed("nats", 0, 6, colour=True) != prefixed("nats", 1, 6, colour=True)


def test_a_tail_follows_its_name_when_the_file_moves_aside(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.write_text("1\n2\n3\n")
    tail = Tail(path)

    assert tail.last(2) == ["2", "3"]
    with path.open("a") as file:
        file.write("4\nhal")
    assert tail.more() == ["4"]
    with path.open("a") as file:
        file.write("f\n")
    assert tail.more() == ["half"]
    path.rename(tmp_path / "nats.log.1")
    assert tail.more() == []
    path.write_text("anew\n")
    assert tail.more() == ["anew"]


def test_following_begins_with_the_last_lines_and_finds_logs_made_later(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("old\nlast\n")
    lines = follow(tmp_path, None, 1, interval=0)

    assert next(lines) == ("a", "last")
    (tmp_path / "b.log").write_text("new\n")
    assert next(lines) == ("b", "new")


def test_only_logs_of_the_name_are_found(tmp_path: Path) -> None:
    for name in ("nats.log", "nats.log.1", "valkey.log"):
        (tmp_path / name).touch()

    assert set(logs(tmp_path, None)) == {"nats", "valkey"}
    assert set(logs(tmp_path, "nats")) == {"nats"}
    assert logs(tmp_path, "other") == {}
