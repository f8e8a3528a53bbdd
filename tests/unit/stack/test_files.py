"""Files are whole and private."""

import os
from pathlib import Path

from runbook_ranger.stack.account import Account, may_enter
from runbook_ranger.stack.files import keep_secret, write_atomically
from runbook_ranger.stack.layout import SOCKET_LIMIT, Layout
from runbook_ranger.stack.spawn import open_log


def test_a_written_file_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "state.json", "old")
    write_atomically(tmp_path / "state.json", "new")

    assert (tmp_path / "state.json").read_text() == "new"
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = keep_secret(tmp_path / "token")

    assert len(first) >= 32
    assert keep_secret(tmp_path / "token") == first
    assert keep_secret(tmp_path / "other") != first


def test_a_log_that_has_outgrown_its_limit_moves_aside(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    for _ in range(2):
        descriptor = open_log(path, limit=3)
        os.write(descriptor, b"line\n")
        os.close(descriptor)

    assert (path.read_text(), (tmp_path / "nats.log.1").read_text()) == ("line\n", "line\n")


def test_an_account_enters_only_where_every_folder_lets_it(tmp_path: Path) -> None:
    stranger = Account("stranger", 54321, 54321)
    inner = tmp_path / "inner"
    inner.mkdir(mode=0o700)

    assert not may_enter(inner, stranger)
    assert may_enter(Path("/usr/bin"), stranger)


def test_a_long_path_gets_a_short_folder_for_sockets_and_keeps_it(layout: Layout) -> None:
    deep = layout.root / ("x" * 60) / ("y" * 40)

    first = Layout.open(deep)

    assert len(bytes(first.sockets)) <= SOCKET_LIMIT
    assert first.sockets.stat().st_mode & 0o777 == 0o700
    assert Layout.open(deep).sockets == first.sockets
    first.sockets.rmdir()


def test_a_short_path_keeps_its_sockets_beside_the_stores(layout: Layout) -> None:
    assert layout.sockets == layout.servers / "s"


def test_folders_of_secrets_are_closed(layout: Layout) -> None:
    assert all((layout.root / name).stat().st_mode & 0o077 == 0 for name in ("secrets", "run", "logs"))
