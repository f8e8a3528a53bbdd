from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog import export
from libs.tlog.chain import Control
from libs.tlog.checkpoint import Checkpoint, Signed, open_checkpoint, sign_checkpoint
from libs.tlog.errors import BrokenLog, FormatError, SignatureError, TlogError
from libs.tlog.export import Exported, closing, first_of, header, hidden_line, line, verify_export
from libs.tlog.note import Signer
from libs.tlog.tree import Frontier
from tests.unit.tlog.vectors import LOG, WITNESS, flip
from tests.unit.tlog.worked import ITEMS, ORIGIN, Store, message, redacted, stored

KEYS = [LOG.verifier, WITNESS.verifier]
SIZE = len(ITEMS) + 1  # with the redaction


def tree(store: Store, size: int) -> Frontier:
    grown = Frontier()
    for entry in store.entries[:size]:
        grown.append(entry.event_hash)
    return grown


def signed(store: Store, size: int) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, tree(store, size).root()), [LOG])


def opened(store: Store, size: int) -> Signed:
    return open_checkpoint(signed(store, size), KEYS)


def lines(
    store: Store, first: int = 0, end: int | None = None, *, whole: bool = True, last: bool = True
) -> list[bytes]:
    end = len(store.entries) if end is None else end
    rows = [line(entry.index, entry.leaf, entry.payload, entry.salt) for entry in store.entries[first:end]]
    return [header(ORIGIN, tree(store, first), whole=whole), *rows, closing(end, signed(store, end) if last else b"")]


def verified(*files: list[bytes], old: Signed | None = None) -> Exported:
    return verify_export([(f"part-{number}", rows) for number, rows in enumerate(files)], KEYS, old)


def finding(*files: list[bytes], old: Signed | None = None, kind: type[TlogError] = BrokenLog) -> str:
    with pytest.raises(kind) as caught:
        verified(*files, old=old)
    return str(caught.value)


def changed(rows: list[bytes], at: int, change: Callable[[bytes], bytes]) -> list[bytes]:
    assert change(rows[at]) != rows[at]
    return [*rows[:at], change(rows[at]), *rows[at + 1 :]]


def test_the_format_is_this_to_the_byte() -> None:
    assert header(ORIGIN, Frontier()) == (
        b'{"first":"0","frontier":[],"origin":"%b","shows":"all","v":"rr.export/1"}\n' % ORIGIN.encode()
    )
    assert line(7, b'{"a":"b"}', b"{}", b"s") == b'{"index":"7","leaf":{"a":"b"},"payload":"e30=","salt":"cw=="}\n'
    assert line(7, b'{"a":"b"}') == b'{"index":"7","leaf":{"a":"b"},"payload":null,"salt":null}\n'
    assert hidden_line(7, b"\xab" * 32) == b'{"index":"7","hash":"%b"}\n' % (b"ab" * 32)
    assert closing(8, b"note\n") == b'{"checkpoint":"note\\n","end":"8","v":"rr.export/1"}\n'
    assert first_of(header(ORIGIN, tree(stored(), 5))) == 5


def test_a_whole_export_verifies_to_its_last_event() -> None:
    report = verified(lines(redacted()))

    assert report.signed.checkpoint.size == SIZE
    assert report.kinds == {"event": 10, "duplicate": 1, "conflict": 1, "reject": 1, "gap": 1, "control": 2}
    assert report.redacted == [4]
    assert (report.first, report.withheld, report.bare, report.old) == (0, 0, 0, None)
    assert report.position == ("EVENTS", 2, 2)
    assert report.last == (14, stored().entries[-1].leaf)


def test_an_export_of_an_empty_log_verifies() -> None:
    assert verified(lines(Store())).signed.checkpoint.size == 0


@pytest.mark.parametrize("cut", range(SIZE + 1))
def test_files_continue_each_other_wherever_they_are_cut(cut: int) -> None:
    store = redacted()

    whole = verified(lines(store))
    parts = verified(lines(store, 0, cut, last=False), lines(store, cut))

    assert replace(parts, signed=whole.signed) == whole


@pytest.mark.parametrize("first", range(1, SIZE))
def test_an_export_may_begin_anywhere(first: int) -> None:
    report = verified(lines(redacted(), first))

    assert report.first == first
    assert sum(report.kinds.values()) == SIZE - first


def test_a_checkpoint_that_the_auditor_holds_is_compared_at_its_size() -> None:
    store = redacted()

    for size in range(1, SIZE + 1):
        assert verified(lines(store), old=opened(store, size)).old == opened(store, size)
    assert verified(lines(store, 5), old=opened(store, 5)).old
    assert verified(lines(store, 0, 5), lines(store, 5), old=opened(store, 5)).old


def test_a_log_that_was_rewritten_is_not_consistent_with_the_checkpoint_that_is_held() -> None:
    other = Store()
    other.append(*(message(seq, payload=b"{}") for seq in range(1, 8)))

    words = finding(lines(stored()), old=opened(other, 5))

    assert words.startswith(f"at size 5 the log {ORIGIN} has the root {tree(stored(), 5).root().hex()}")
    assert words.endswith("two histories were shown")


def test_an_export_that_ends_before_the_checkpoint_that_is_held_is_stale() -> None:
    store = stored()

    assert finding(lines(store, 0, 5), old=opened(store, 9)) == (
        "what is shown ends at 5 leaves, before the checkpoint of size 9 that is held: it is stale"
    )
    assert "bring the leaves before" in finding(lines(store, 5), old=opened(store, 4))


def test_a_flipped_byte_of_a_payload_is_named_by_its_event() -> None:
    rows = changed(lines(stored()), 6, lambda row: row.replace(b'"payload":"eyJz', b'"payload":"eyJy'))

    assert finding(rows) == (
        "leaf 5 (event 0192f0c2-0000-7000-8000-000000000006, incident.created, stream sequence 6): "
        "stored payload does not match its commitment"
    )


def test_a_flipped_byte_of_a_leaf_breaks_the_chain_or_the_root() -> None:
    def change(row: bytes) -> bytes:
        return row.replace(b"usr_7f3a", b"usr_7f3b")

    assert "does not follow the leaf before it" in finding(changed(lines(stored()), 3, change))
    assert finding(changed(lines(stored()), len(ITEMS), change)).startswith("the leaves' root is")


def test_swapped_repeated_and_missing_lines_are_named() -> None:
    rows = lines(stored())

    assert finding([*rows[:3], rows[4], rows[3], *rows[5:]]) == "leaf 3: leaf 2 is missing before it"
    assert finding([*rows[:4], rows[3], *rows[4:]]) == "leaf 2: the index occurs twice or out of order, expected 3"
    assert finding([*rows[:3], *rows[6:]]) == "leaf 5: leaves 2 to 4 are missing before it"


def test_a_truncated_tail_is_found_even_if_the_closing_line_is_adapted() -> None:
    store = stored()
    rows = lines(store)

    assert "the file ends at 14 leaves, its closing line says 15" in finding([*rows[:-2], rows[-1]], kind=FormatError)
    assert finding([*rows[:-2], closing(14, signed(store, 15))]) == ("there are 14 leaves, the checkpoint says 15")
    assert finding(lines(store, last=False)) == "no checkpoint says that the log has 15 leaves"


def test_a_payload_beside_a_leaf_that_is_no_event_is_refused() -> None:
    rows = changed(lines(stored()), 8, lambda row: row.replace(b"null", b'"e30="'))

    assert finding(rows).endswith("a payload stands beside a leaf that is no event")


def test_a_payload_that_is_gone_needs_a_redaction() -> None:
    store = stored()
    store.entries[4] = replace(store.entries[4], payload=None, salt=None)

    assert finding(lines(store)).endswith("stored payload or salt is missing and no redaction says so")


def test_what_is_withheld_is_counted_and_the_tree_is_verified_all_the_same() -> None:
    store = redacted()
    rows = lines(store, whole=False)
    rows[3] = hidden_line(2, store.entries[2].event_hash)
    rows[4] = line(3, store.entries[3].leaf)

    report = verified(rows)

    assert (report.withheld, report.bare, report.redacted) == (1, 1, [4])
    rows[3] = hidden_line(2, bytes(32))
    assert finding(rows).startswith("the leaves' root is")


def test_nothing_is_withheld_from_a_whole_export() -> None:
    store = stored()
    rows = lines(store)
    rows[3] = hidden_line(2, store.entries[2].event_hash)

    assert finding(rows) == "leaf 2: the leaf is withheld from a log that is said to be whole"


def test_leaves_between_those_that_are_shown_still_follow_each_other() -> None:
    store = stored()
    rows = lines(store, whole=False)
    for at in (2, 3, 7):
        rows[1 + at] = hidden_line(at, store.entries[at].event_hash)
    assert verified(rows).withheld == 3

    evil = rows[10].replace(b'"seq":"10"', b'"seq":"11"')
    assert "stream sequence 10 has no outcome" in finding([*rows[:10], evil, *rows[11:]])


def test_a_file_that_does_not_continue_the_one_before_it_is_refused() -> None:
    store = stored()
    first, second = lines(store, 0, 5), lines(store, 6)

    assert "part-1, line 1: the file begins at leaf 6" in finding(first, second, kind=FormatError)
    other = [second[0].replace(b"prod-1", b"prod-2"), *second[1:]]
    assert "of another export" in finding(first, other, kind=FormatError)
    assert "of another export" in finding(first, lines(store, 5, whole=False), kind=FormatError)
    assert finding() == "there is no export"


def test_a_frontier_that_is_not_that_of_the_leaves_before_gives_another_root() -> None:
    store = stored()
    rows = [header(ORIGIN, Frontier(5, [bytes(32), bytes(32)])), *lines(store, 5)[1:]]

    assert finding(rows).startswith("the leaves' root is")


NEW = Signer(ORIGIN, b"n" * 32)


def rotated(vkey: str = NEW.vkey) -> Store:
    """A log that announces another key in its sixth leaf."""
    store = Store()
    store.append(*(message(seq) for seq in range(1, 6)), Control({"type": "key_rotation", "vkey": vkey}))
    store.append(*(message(seq) for seq in range(6, 10)))
    return store


def by_the_new_key(store: Store, first: int) -> list[bytes]:
    rows = lines(store, first)
    said = Checkpoint(ORIGIN, len(store.entries), tree(store, len(store.entries)).root())
    return [*rows[:-1], closing(said.size, sign_checkpoint(said, [NEW]))]


def test_a_key_that_the_log_announced_under_an_old_keys_checkpoint_is_believed() -> None:
    store = rotated()

    report = verified(lines(store, 0, 7), by_the_new_key(store, 7))

    assert report.announced == [(5, NEW.verifier)]
    assert verified(by_the_new_key(store, 0), old=opened(store, 6)).signed.signers[0].key == NEW.verifier


def test_a_key_that_no_old_keys_checkpoint_covers_is_not_believed() -> None:
    store = rotated()

    for files, old in (
        ([by_the_new_key(store, 0)], None),
        ([lines(store, 0, 5), by_the_new_key(store, 5)], None),
        ([by_the_new_key(store, 0)], opened(store, 5)),
        ([lines(store, 0, 7, last=False), by_the_new_key(store, 7)], None),
    ):
        assert "no signature of a known key" in finding(*files, old=old, kind=SignatureError)


@pytest.mark.parametrize(
    ("vkey", "words"),
    [("x", "leaf 5: key_rotation names no key"), (WITNESS.vkey, "leaf 5: key_rotation names a key of witness")],
)
def test_a_rotation_to_what_is_no_key_of_the_log_is_found(vkey: str, words: str) -> None:
    assert finding(lines(rotated(vkey))).startswith(words)


@pytest.mark.parametrize(
    ("at", "row", "words"),
    [
        (0, b"", "line 1: the first line is not one of rr.export/1"),
        (0, b"{}\n", "line 1: the first line is not one of rr.export/1"),
        (0, header(ORIGIN, Frontier())[:-1], "line 1: the first line is not one of"),
        (0, header(ORIGIN, Frontier()).replace(b":", b": ", 1), "not one of rr.export/1: not in canonical"),
        (0, header(ORIGIN, Frontier()).replace(b'"0"', b'"00"'), "first is not a decimal number"),
        (0, header(ORIGIN, Frontier()).replace(b"all", b"alk"), "does not say what the file shows"),
        (0, header(ORIGIN, Frontier()).replace(b"[]", b'"x"'), "does not say what the file shows"),
        (0, header(ORIGIN, Frontier()).replace(b"[]", b'["x"]'), "a hash of the frontier is not base64"),
        (0, header(ORIGIN, Frontier()).replace(b'"0"', b'"1"'), "the frontier of 1 leaves does not have 0 hashes"),
        (1, b'{"index":"0","leaf":{}}\n', "line 2: not the line of a leaf"),
        (1, b'{"index":"0","leaf":{},"payload":"x"}\n', "line 2: not the line of a leaf"),
        (1, b'{"index":"0","leaf":{},"payload":"x","salt":null}\n', "line 2: not the line of a leaf"),
        (1, b'{"index":"0","leaf":{},"payload":"x","salt":""}\n', "line 2: payload is not base64"),
        (1, b'{"index":"0","leaf":{},"payload":"e30","salt":"e30="}\n', "line 2: payload is not base64"),
        (1, b'{"index":"0","leaf":{},"payload":"e30=","salt":"e31="}\n', "line 2: salt is not canonical base64"),
        (1, b'{"index": "0"}\n', "line 2: the line is not one of rr.export/1"),
        (1, b"x" * (export.MAX_LINE + 1), "a line has at most 16777216 bytes"),
        (-1, closing(15, b"").replace(b'"v"', b'"w"'), "the line is not one of rr.export/1"),
        (-1, closing(15, b"nonsense"), "the note is not a text"),
        (-1, b"", "the file is cut off"),
    ],
)  # fmt: skip
def test_any_other_line_is_refused_by_file_and_number(at: int, row: bytes, words: str) -> None:
    rows = lines(stored())
    rows[at] = row

    found = finding(rows, kind=FormatError)

    assert found.startswith("part-0, line ")
    assert words in found


def test_a_file_that_was_cut_off_or_goes_on_is_refused() -> None:
    rows = lines(stored())

    assert finding(rows[:-1], kind=FormatError) == "part-0, line 16: the file is cut off: it has no closing line"
    assert "something follows the closing line" in finding([*rows, b"\n"], kind=FormatError)
    assert "line 0: the file is cut off" in finding([], kind=FormatError)


def test_a_checkpoint_of_another_key_is_refused_by_file_and_line() -> None:
    store = stored()
    other = sign_checkpoint(Checkpoint(ORIGIN, 15, tree(store, 15).root()), [Signer(ORIGIN, bytes(32))])

    assert finding([*lines(store)[:-1], closing(15, other)], kind=SignatureError).startswith("part-0, line 17: no sig")


def test_a_checkpoint_of_another_log_is_refused() -> None:
    store, name = stored(), "rr.example/timeline/other"
    key = Signer(name, LOG.seed)
    other = sign_checkpoint(Checkpoint(name, 15, tree(store, 15).root()), [key])

    with pytest.raises(BrokenLog, match="the checkpoint of rr"):
        verify_export([("x", [*lines(store)[:-1], closing(15, other)])], [key.verifier])


@given(st.lists(st.integers(0, 20_000), max_size=8))
def test_blocks_may_be_cut_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    blocks = [WHOLE[start:end] for start, end in pairwise(edges)]

    assert verified(blocks) == verified(lines(redacted()))


def test_what_does_not_hold_is_named_in_whatever_block_it_comes() -> None:
    bent = WHOLE.replace(b"usr_7f3a", b"usr_7f3b", 3)

    assert finding([bent]) == finding(bent.splitlines(keepends=True))
    assert finding([bent]).startswith("leaf 1 (event 0192f0c2-0000-7000-8000-000000000002")


WHOLE = b"".join(lines(redacted()))
PARTS = b"".join(lines(redacted(), 6))


def usual() -> Store:
    """A log of which all lines are read at once."""
    store = Store()
    store.append(*(message(seq, event=4 * seq + 1) for seq in range(1, 30)))
    return store


USUAL = b"".join(lines(usual()))


@pytest.mark.parametrize("exported", [WHOLE, PARTS, USUAL], ids=["whole", "from leaf 6", "usual"])
@given(data=st.data())
def test_no_bit_of_an_exported_log_can_change(exported: bytes, data: Any) -> None:
    bent = flip(exported, data.draw(st.integers(0, len(exported) * 8 - 1)))

    with pytest.raises(TlogError) as by_line:
        verified(bent.splitlines(keepends=True))
    head, newline, rest = bent.partition(b"\n")
    with pytest.raises(TlogError) as at_once:
        verified([head + newline, rest])
    if b"\r" not in bent:
        assert str(at_once.value) == str(by_line.value)


def test_lines_that_are_read_at_once_are_refused_for_what_is_wrong_with_them() -> None:
    rows = lines(usual())

    def found(*changed: bytes) -> str:
        return finding([rows[0], b"".join(changed), rows[-1]])

    assert verified([rows[0], b"".join(rows[1:-1]), rows[-1]]).signed.checkpoint.size == 29
    assert found(*rows[1:3], *rows[4:-1]) == "leaf 3: leaf 2 is missing before it"
    assert found(rows[1], rows[2].replace(b'"seq":"2"', b'"seq":"3"')).endswith("sequence 2 has no outcome before it")
    assert found(rows[1], rows[2].replace(b'"n":"2"', b'"n":"3"')).endswith("chain, expected 2")
    assert found(rows[1], rows[2].replace(b'"epoch":"1"', b'"epoch":"2"')).endswith("without a stream_reset")
    assert found(rows[1].replace(b"prod-1", b"prod-2")).endswith(
        "leaf belongs to another log, rr.example/timeline/prod-2"
    )
    assert found(rows[1].replace(b'"len":"50"', b'"len":"51"')).endswith("does not have its stated length")
    twice = rows[2].replace(message(2, event=9).event.id.encode(), message(1, event=5).event.id.encode())
    assert found(rows[1], twice).endswith("the event stands at leaf 0 already")


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_lines_make_the_reader_raise_anything_else(rows: list[bytes]) -> None:
    with pytest.raises(TlogError):
        verified([lines(stored())[0], *rows])


def test_a_copy_from_before_a_redaction_verifies_and_is_told() -> None:
    before, after = stored(), redacted()
    rows = [*lines(after)]
    rows[5] = lines(before)[5]

    report = verified(rows)

    assert (report.redacted, report.kept) == ([], (4,))
