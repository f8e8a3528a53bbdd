"""`rangerctl audit export`: whole files out of broken streams, and nothing added to what is not the log's beginning."""

from collections.abc import Callable
from pathlib import Path

import pytest

from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.export import closing, header, line, verify_export
from libs.tlog.tree import Frontier
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway
from tests.unit.tlog.vectors import LOG
from tests.unit.tlog.worked import ORIGIN, Store, stored

EXPORT = "/timeline/export"


def tree(store: Store, size: int) -> Frontier:
    grown = Frontier()
    for entry in store.entries[:size]:
        grown.append(entry.event_hash)
    return grown


def exported(store: Store, first: int, end: int) -> bytes:
    rows = [line(entry.index, entry.leaf, entry.payload, entry.salt) for entry in store.entries[first:end]]
    note = sign_checkpoint(Checkpoint(ORIGIN, end, tree(store, end).root()), [LOG])
    return b"".join([header(ORIGIN, tree(store, first)), *rows, closing(end, note)])


def answering(end: int = 15, most: int = 1 << 30) -> Callable[[dict[str, str]], bytes]:
    """A gateway that breaks off after so many bytes."""
    return lambda asked: exported(stored(), int(asked.get("first", 0)), end)[:most]


def firsts(gateway: FakeGateway) -> list[str]:
    return [path.partition("first=")[2].partition("&")[0] for _, path, _, _ in gateway.asked]


@pytest.mark.parametrize("most", [2000, 2345, 5000])
def test_a_stream_that_breaks_off_is_gone_on_with(run: Run, gateway: FakeGateway, tmp_path: Path, most: int) -> None:
    gateway.answer(EXPORT, answering(most=most))

    ran = run("audit", "export", "-o", str(tmp_path / "log.jsonl"), "--vkey", LOG.verifier.vkey)

    assert (ran.code, ran.err) == (0, "")
    assert "leaves 0 to 15" in ran.out
    assert LOG.verifier.key_id.hex() in ran.out
    assert (tmp_path / "log.jsonl").read_bytes() == exported(stored(), 0, 15)
    assert len(gateway.asked) > 2
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_cut_anywhere_becomes_the_same_file(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.answer(EXPORT, answering())
    whole, file = exported(stored(), 0, 15), tmp_path / "log.jsonl"
    for cut in (0, 10, len(header(ORIGIN, Frontier())), 3000, len(whole) - 1, len(whole)):
        file.write_bytes(whole[:cut])

        ran = run("audit", "export", "-o", str(file))

        assert (ran.code, file.read_bytes()) == (0, whole), cut


def test_a_stream_that_gets_no_further_is_given_up_and_the_file_is_good(
    run: Run, gateway: FakeGateway, tmp_path: Path
) -> None:
    gateway.answer(EXPORT, lambda asked: answering(most=2000 if "first" not in asked else 150)(asked))

    ran = run("audit", "export", "-o", str(tmp_path / "log.jsonl"))

    assert ran.code == 3
    assert "again" in ran.err
    assert exported(stored(), 0, 15).startswith((tmp_path / "log.jsonl").read_bytes())


def test_a_folder_gets_a_file_for_what_is_new_and_none_for_nothing(
    run: Run, gateway: FakeGateway, tmp_path: Path
) -> None:
    for end in (6, 6, 15):
        gateway.answers.clear()
        gateway.answer(EXPORT, answering(end=end))
        assert run("audit", "export", "-o", str(tmp_path)).code == 0

    gateway.answers.clear()
    gateway.answer(EXPORT, lambda asked: header(ORIGIN, tree(stored(), int(asked["first"]))))
    assert run("audit", "export", "-o", str(tmp_path)).code == 3  # whether there is more was not said
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"{0:020d}.jsonl", f"{6:020d}.jsonl"]
    found = verify_export([(file.name, [file.read_bytes()]) for file in files], [LOG.verifier])
    assert found.signed.checkpoint.size == 15
    assert firsts(gateway)[1:4] == ["6", "6", "15"]


def test_what_is_not_the_beginning_of_the_log_is_not_added_to(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.answer(EXPORT, answering())
    whole, file = exported(stored(), 0, 15), tmp_path / "log.jsonl"
    for other in (
        whole[:3000].replace(b"usr_7f3a", b"usr_7f3b"),  # another leaf
        whole[:3000].replace(b'"payload":"eyJz', b'"payload":"eyJy'),  # another payload
        b"something else\n",
    ):
        file.write_bytes(other)

        ran = run("audit", "export", "-o", str(file))

        assert (ran.code, "NOT VERIFIED" in ran.err) == (1, True)
        assert other.startswith(file.read_bytes())


def test_a_gateway_that_sends_something_else_is_refused(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.answer(EXPORT, exported(stored(), 0, 15).replace(b"usr_7f3a", b"usr_7f3b", 1))

    ran = run("audit", "export", "-o", str(tmp_path / "log.jsonl"))

    assert (ran.code, "NOT VERIFIED" in ran.err) == (1, True)
    assert run("audit", "export", "-o", str(tmp_path / "x"), "--since", "1h", "--from", "3").code == 2
