from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.tlog.chain import Batch, First, Head, Item, Message, Unreadable, chain
from libs.tlog.leaf import genesis
from tests.unit.tlog.worked import CREATED, INCIDENT, ITEMS, ORIGIN, PAYLOAD, SALT, Store, message, source, stored


def chained(*items: Item, size: int = 0) -> Batch:
    return chain(items, origin=ORIGIN, size=size, heads={}, seen={})


def leaves(batch: Batch) -> list[Any]:
    return [orjson.loads(entry.leaf) for entry in batch.entries]


def test_each_leaf_names_the_hash_of_the_leaf_before_it_in_its_chain() -> None:
    batch = chained(message(1), message(2), message(4))

    links = [leaf["chains"][0] for leaf in leaves(batch)]

    hashes = [genesis(ORIGIN, "incident", INCIDENT), *(entry.event_hash for entry in batch.entries)]
    assert [link["prev"] for link in links] == [item.hex() for item in hashes[:3]]
    assert [link["n"] for link in links] == ["1", "2", "3"]
    assert batch.heads == {("incident", INCIDENT): Head(3, hashes[3])}


def test_an_event_stands_in_the_chain_of_each_thing_it_names_sorted_by_kind() -> None:
    told = replace(CREATED, runbook_id="rb", execution_id="ex")

    batch = chained(Message(source(1), told, PAYLOAD, SALT))

    assert [link["k"] for link in leaves(batch)[0]["chains"]] == ["execution", "incident", "runbook"]
    assert set(batch.heads) == {("execution", "ex"), ("incident", INCIDENT), ("runbook", "rb")}


def test_the_same_event_under_a_new_sequence_is_a_duplicate_of_the_first() -> None:
    batch = chained(message(1), message(2, event=1), size=7)

    assert [entry.kind for entry in batch.entries] == ["event", "duplicate"]
    assert leaves(batch)[1]["body"] == {"id": message(1).event.id, "of": "7"}
    assert batch.heads["incident", INCIDENT].n == 1


def test_the_same_id_with_other_bytes_is_a_conflict_and_the_first_stands() -> None:
    other = replace(message(3, event=1), event=replace(message(1).event, actor="usr_other"))

    batch = chained(message(1), message(2, event=1, payload=b"{}"), other)

    assert [entry.kind for entry in batch.entries] == ["event", "conflict", "conflict"]
    assert batch.heads["incident", INCIDENT] == Head(1, batch.entries[0].event_hash)


def test_a_repetition_of_an_event_of_an_earlier_batch_is_recognised() -> None:
    before = chained(message(1)).entries[0]
    seen = {(CREATED.source, message(1).event.id): First(0, before.leaf)}

    batch = chain([message(2, event=1)], origin=ORIGIN, size=1, heads={}, seen=seen)

    assert batch.entries[0].kind == "duplicate"


def test_the_same_id_from_another_source_is_another_event() -> None:
    other = replace(message(2, event=1), event=replace(message(1).event, source="/svc/executor"))

    assert [entry.kind for entry in chained(message(1), other).entries] == ["event", "event"]


def test_a_message_whose_leaf_breaks_a_rule_is_rejected_and_the_next_one_goes_on() -> None:
    long = replace(message(1), event=replace(CREATED, actor="a" * 5000))
    nul = replace(message(2), event=replace(CREATED, incident_id="a\0b"))
    surrogate = replace(message(3), event=replace(CREATED, incident_id="\ud800"))

    batch = chained(long, nul, surrogate, Unreadable(source(4), "ce-id is missing"), message(5))

    reasons = [leaf["body"]["reason"] for leaf in leaves(batch)[:4]]
    assert reasons == [
        "leaf is longer than 4096 bytes",
        "a chain's origin, kind or id contains NUL",
        "a field is not valid Unicode",
        "ce-id is missing",
    ]
    assert batch.entries[4].kind == "event"
    assert batch.heads["incident", INCIDENT].n == 1


@given(st.lists(st.integers(1, len(ITEMS) - 1), max_size=6))
def test_however_the_stream_is_cut_into_batches_the_log_is_the_same(cuts: list[int]) -> None:
    store, whole = Store(), stored()
    edges = [0, *sorted(cuts), len(ITEMS)]

    for start, end in pairwise(edges):
        store.append(*ITEMS[start:end])

    assert (store.entries, store.heads, store.state) == (whole.entries, whole.heads, whole.state)
