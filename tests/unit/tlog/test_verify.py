from collections.abc import Callable
from dataclasses import replace

import pytest

from libs.tlog.chain import Control, Head, Missing
from libs.tlog.errors import BrokenLog
from libs.tlog.leaf import event_hash
from libs.tlog.tree import Frontier
from libs.tlog.verify import Report, StoredEntry, StoredState, verify
from tests.unit.tlog.worked import INCIDENT, ITEMS, ORIGIN, Store, message, stored


def verified(store: Store, state: StoredState | None = None) -> Report:
    return verify(store.entries, state or store.state, store.heads)


def finding(store: Store, state: StoredState | None = None) -> str:
    with pytest.raises(BrokenLog) as caught:
        verified(store, state)
    return str(caught.value)


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def edit(store: Store, index: int, change: Callable[[StoredEntry], StoredEntry]) -> Store:
    store.entries[index] = change(store.entries[index])
    return store


def rewritten(entry: StoredEntry, leaf: bytes) -> StoredEntry:
    """A leaf changed by somebody who also stores its new hash."""
    return replace(entry, leaf=leaf, event_hash=event_hash(leaf))


def rooted(store: Store) -> StoredState:
    """The state as somebody would store it who recomputes size and root over what is there."""
    tree = Frontier()
    for entry in store.entries:
        tree.append(entry.event_hash)
    return replace(store.state, size=tree.size, root=tree.root())


def test_a_log_as_the_timeline_writes_it_verifies() -> None:
    report = verified(stored())

    assert report.size == len(ITEMS)
    assert report.kinds == {"event": 10, "duplicate": 1, "conflict": 1, "reject": 1, "gap": 1, "control": 1}
    assert report.redacted == []


def test_an_empty_log_verifies() -> None:
    assert verified(Store()).size == 0


def test_a_flipped_byte_in_a_payload_is_named_by_its_event() -> None:
    store = edit(stored(), 4, lambda entry: replace(entry, payload=flip(entry.payload or b"", 3)))

    assert finding(store) == (
        "leaf 4 (event 0192f0c2-0000-7000-8000-000000000005, incident.created, stream sequence 5): "
        "stored payload does not match its commitment"
    )


def test_a_flipped_byte_in_a_salt_is_named_by_its_event() -> None:
    store = edit(stored(), 4, lambda entry: replace(entry, salt=flip(entry.salt or b"", 31)))

    assert "leaf 4 (event 0192f0c2-0000-7000-8000-000000000005" in finding(store)
    assert finding(store).endswith("stored payload does not match its commitment")


def test_a_salt_of_another_length_is_found() -> None:
    assert finding(edit(stored(), 4, lambda entry: replace(entry, salt=b""))).endswith("stored salt is not 32 bytes")


@pytest.mark.parametrize("at", [0, 100, 400, -1])
def test_a_flipped_byte_anywhere_in_a_leaf_is_found_at_that_leaf(at: int) -> None:
    store = edit(stored(), 4, lambda entry: replace(entry, leaf=flip(entry.leaf, at % len(entry.leaf))))

    words = finding(store)

    assert words.startswith("leaf 4")
    assert words.endswith("stored leaf does not match its stored hash")


def test_a_leaf_rewritten_with_its_hash_breaks_the_chain_that_follows() -> None:
    store = edit(stored(), 4, lambda entry: rewritten(entry, entry.leaf.replace(b"usr_7f3a", b"usr_evil")))

    assert finding(store).startswith("leaf 5 (event 0192f0c2-0000-7000-8000-000000000006")
    assert finding(store).endswith(f"does not follow the leaf before it in incident {INCIDENT}'s chain")


def test_the_last_leaf_rewritten_with_its_hash_breaks_the_root() -> None:
    last = len(ITEMS) - 1
    store = edit(stored(), last, lambda entry: rewritten(entry, entry.leaf.replace(b"usr_7f3a", b"usr_evil")))

    assert finding(store).startswith("the leaves' root is")


def test_a_rewritten_leaf_with_hash_and_root_still_breaks_the_head() -> None:
    last = len(ITEMS) - 1
    state = stored().state
    store = edit(stored(), last, lambda entry: rewritten(entry, entry.leaf.replace(b"usr_7f3a", b"usr_evil")))

    words = finding(store, replace(state, root=rooted(store).root))

    assert words.startswith(f"the chain of incident {INCIDENT} ends at number 10")


def test_two_swapped_leaves_are_found_at_the_first_of_them() -> None:
    store = stored()
    third, fourth = store.entries[3], store.entries[4]
    store.entries[3], store.entries[4] = replace(fourth, index=3), replace(third, index=4)

    words = finding(store)

    assert words.startswith("leaf 3 (event 0192f0c2-0000-7000-8000-000000000005")
    assert words.endswith("stream sequence 4 has no outcome before it")


def test_two_swapped_leaves_break_the_root_and_the_chain_says_where_though_their_sequences_are_swapped_back() -> None:
    store = stored()
    third, fourth = store.entries[3], store.entries[4]
    at = {index: store.entries[index].leaf.split(b'"src":')[1] for index in (3, 4)}
    for index, moved in ((3, fourth), (4, third)):
        edit(store, index, lambda entry, moved=moved: replace(entry, payload=moved.payload, salt=moved.salt))  # type: ignore[misc]
        leaf = moved.leaf.split(b'"src":')[0] + b'"src":' + at[index]
        edit(store, index, lambda entry, leaf=leaf: rewritten(entry, leaf))  # type: ignore[misc]

    assert rooted(store).root != stored().state.root
    words = finding(store, rooted(store))
    assert words.startswith("leaf 3 (event 0192f0c2-0000-7000-8000-000000000005")
    assert f"incident {INCIDENT}'s chain" in words


def test_rows_that_arrive_out_of_order_are_found() -> None:
    store = stored()
    store.entries[3], store.entries[4] = store.entries[4], store.entries[3]

    assert finding(store) == "leaf 4: leaf 3 is missing before it"


def test_a_deleted_last_leaf_is_found_by_the_size() -> None:
    state, store = stored().state, stored()
    del store.entries[-1]

    assert finding(store, state) == f"the log holds {len(ITEMS) - 1} leaves, its state says {len(ITEMS)}"


def test_a_deleted_last_leaf_with_size_and_root_recomputed_is_found_by_the_head() -> None:
    store = stored()
    del store.entries[-1]

    assert finding(store, rooted(store)).startswith(f"the chain of incident {INCIDENT} ends at number 9")


def test_a_deleted_leaf_in_the_middle_is_found_where_it_was() -> None:
    store = stored()
    del store.entries[4]

    assert finding(store) == "leaf 5: leaf 4 is missing before it"


def test_a_deleted_leaf_with_all_others_renumbered_is_found_by_its_sequence() -> None:
    store = stored()
    del store.entries[4]
    store.entries = [replace(entry, index=index) for index, entry in enumerate(store.entries)]

    assert finding(store, rooted(store)).endswith("stream sequence 5 has no outcome before it")


@pytest.mark.parametrize("head", [Head(9, b"\0" * 32), Head(10, b"\0" * 32), None])
def test_an_edited_head_is_found(head: Head | None) -> None:
    store = stored()
    if head is None:
        del store.heads["incident", INCIDENT]
    else:
        store.heads["incident", INCIDENT] = head

    assert finding(store).startswith(f"the chain of incident {INCIDENT} ends at number 10")


def test_a_head_that_no_leaf_accounts_for_is_found() -> None:
    store = stored()
    store.heads["runbook", "rb"] = Head(1, b"\0" * 32)

    assert finding(store) == "a head is stored for runbook rb, which no leaf names"


def test_a_changed_size_is_found() -> None:
    state = replace(stored().state, size=len(ITEMS) + 1)

    assert finding(stored(), state) == f"the log holds {len(ITEMS)} leaves, its state says {len(ITEMS) + 1}"


def test_a_changed_root_is_found() -> None:
    assert finding(stored(), replace(stored().state, root=b"\0" * 32)).endswith(f"the state says {'00' * 32}")


def test_a_changed_position_is_found() -> None:
    assert finding(stored(), replace(stored().state, seq=3)) == (
        "the leaves end at EVENTS epoch 2 sequence 2, the state says EVENTS epoch 2 sequence 3"
    )


def test_an_index_that_occurs_twice_is_found() -> None:
    store = stored()
    store.entries.insert(5, store.entries[4])

    assert finding(store) == "leaf 4: the index occurs twice or out of order, expected 5"


def test_a_missing_gap_leaf_is_found() -> None:
    store = Store()
    store.append(*(item for item in ITEMS if not isinstance(item, Missing)))

    assert finding(store).startswith("leaf 10 (event 0192f0c2-0000-7000-8000-000000000015")
    assert finding(store).endswith("stream sequences 11 to 14 have no outcome before it")


def test_a_sequence_with_two_outcomes_is_found() -> None:
    store = Store()
    store.append(message(1), message(1, event=2))

    assert finding(store).endswith("stream sequence 1 has its outcome already, expected 2")


def test_an_event_that_stands_in_the_log_twice_is_found() -> None:
    store = Store()
    store.append(message(1))
    store.seen.clear()
    store.append(message(2, event=1))

    assert finding(store).endswith("the event stands at leaf 0 already")


def test_a_new_epoch_without_a_stream_reset_is_found() -> None:
    store = Store()
    store.append(message(1), message(1, event=2, epoch=2))

    assert finding(store).endswith("stream EVENTS epoch 2 follows EVENTS epoch 1 without a stream_reset")


def test_a_stream_reset_that_skips_what_was_chained_is_found() -> None:
    store = Store()
    reset = {"type": "stream_reset", "stream": "EVENTS", "epoch": "2", "was": "1", "last": "5"}
    store.append(message(1), Control(reset))

    assert finding(store) == "leaf 1: stream_reset does not continue EVENTS epoch 1 sequence 1"


def test_a_leaf_of_another_log_is_found() -> None:
    state = replace(stored().state, origin="rr.example/timeline/other")

    assert finding(stored(), state).endswith(f"leaf belongs to another log, {ORIGIN}")


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (b'{"v": "rr.leaf/1"}', "leaf is not canonical: not in canonical form"),
        (b'{"v":"1","v":"2"}', "leaf is not canonical: key 'v' occurs twice"),
        (b'{"v":1}', "leaf is not canonical: only objects, arrays and strings are allowed, not int"),
        (b'"text"', "leaf is malformed"),
        (b'{"kind":"event"}', "leaf is malformed: leaf.log is missing"),
        (b'"%s"' % (b"x" * 4096), "leaf is longer than 4096 bytes"),
    ],
)
def test_a_leaf_outside_the_format_is_found_even_with_its_own_hash(leaf: bytes, words: str) -> None:
    assert words in finding(edit(stored(), 2, lambda entry: rewritten(entry, leaf)))


def test_a_payload_that_is_gone_without_a_redaction_is_found() -> None:
    store = edit(stored(), 4, lambda entry: replace(entry, payload=None, salt=None))

    assert finding(store).endswith("stored payload or salt is missing and no redaction says so")


def test_a_redacted_event_verifies_and_is_listed() -> None:
    store = stored()
    store.append(Control({"type": "redaction", "of": "4", "id": "0192f0c2-0000-7000-8000-000000000005"}))
    edit(store, 4, lambda entry: replace(entry, payload=None, salt=None))

    assert verified(store).redacted == [4]


def test_a_redaction_of_an_event_whose_payload_is_still_there_is_found() -> None:
    store = stored()
    store.append(Control({"type": "redaction", "of": "4"}))

    assert finding(store).endswith("redaction names no event whose payload is gone")


def test_a_duplicate_that_names_another_leaf_is_found() -> None:
    store = stored()
    edit(store, 7, lambda entry: rewritten(entry, entry.leaf.replace(b'"of":"2"', b'"of":"1"')))

    assert "duplicate names leaf 1, which is no event 0192f0c2-0000-7000-8000-000000000003" in finding(store)
