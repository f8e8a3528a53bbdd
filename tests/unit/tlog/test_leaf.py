from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from libs.tlog.errors import LeafError
from libs.tlog.leaf import (
    Event,
    Link,
    Ref,
    Source,
    commit,
    conflict_leaf,
    control_leaf,
    duplicate_leaf,
    event_hash,
    event_leaf,
    gap_leaf,
    genesis,
    reject_leaf,
    same_content,
    stream_reset,
)
from libs.tlog.profile import parse
from libs.tlog.shape import KINDS, MAX_LEAF, check
from tests.unit.tlog.worked import CREATED, INCIDENT, ORIGIN, PAYLOAD, SALT, SOURCE

GOLDEN = Path(__file__).parents[2] / "golden"
FIRST = Link("incident", INCIDENT, 1, genesis(ORIGIN, "incident", INCIDENT))


def event(told: Event = CREATED, *links: Link, src: Source = SOURCE) -> bytes:
    return event_leaf(ORIGIN, src, told, PAYLOAD, SALT, links or (FIRST,))


def refused(told: Event, *links: Link) -> str:
    with pytest.raises(LeafError) as caught:
        event(told, *links)
    return caught.value.reason


def golden(kind: str) -> dict[str, Any]:
    vector: dict[str, Any] = orjson.loads((GOLDEN / f"leaf_{kind}.json").read_bytes())
    return vector


def build(kind: str, told: dict[str, Any]) -> bytes:
    """A leaf from a vector's input, by the builder of its kind."""
    origin, src = told["origin"], Source(**told["src"]) if "src" in told else SOURCE
    match kind:
        case "event":
            envelope = {**told["event"], "tenants": tuple(told["event"]["tenants"])}
            envelope["refs"] = tuple(Ref(**ref) for ref in envelope["refs"])
            links = [Link(link["k"], link["id"], link["n"], bytes.fromhex(link["prev"])) for link in told["links"]]
            salt = bytes.fromhex(told["salt"])
            return event_leaf(origin, src, Event(**envelope), told["payload"].encode(), salt, links)
        case "duplicate":
            return duplicate_leaf(origin, src, told["id"], told["of"])
        case "conflict":
            return conflict_leaf(origin, src, told["id"], told["of"])
        case "reject":
            return reject_leaf(origin, src, told["reason"])
        case "gap":
            return gap_leaf(origin, told["stream"], told["epoch"], told["from"], told["to"])
        case _:
            return control_leaf(origin, told["body"])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_leaf_has_the_bytes_of_its_golden_vector(kind: str) -> None:
    vector = golden(kind)

    leaf = build(kind, vector["input"])

    assert leaf.decode() == vector["leaf"]
    assert event_hash(leaf).hex() == vector["event_hash"]


def test_leaf_0_of_the_worked_example_is_821_bytes_with_the_published_hash() -> None:
    leaf = event()

    assert len(leaf) == 821
    assert event_hash(leaf).hex() == "5ba9b36fac7aa2eb053ca0986833f057581f549309b663b0b28bd97247187701"
    assert leaf.decode() == golden("event")["leaf"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_leaf_that_is_built_passes_the_verifiers_rules(kind: str) -> None:
    leaf = parse(golden(kind)["leaf"].encode())

    assert isinstance(leaf, dict)
    check(leaf)


def test_a_commitment_hides_the_payload_behind_a_salt_of_32_bytes() -> None:
    assert commit(PAYLOAD, SALT) == sha256(b"rr/payload/v1\0" + SALT + PAYLOAD).digest()
    assert commit(PAYLOAD, SALT) != commit(PAYLOAD, sha256(b"another").digest())
    with pytest.raises(LeafError, match="salt is not 32 bytes"):
        commit(PAYLOAD, b"short")


def test_a_chain_starts_from_a_hash_of_origin_kind_and_id() -> None:
    assert genesis(ORIGIN, "incident", INCIDENT).hex() == (
        "05115d605c48036faa6193e6abf5ffd5863314a2a47cda9aa5c344d0b5a6eee4"
    )
    with pytest.raises(LeafError, match="contains NUL"):
        genesis(ORIGIN, "incident", "a\0b")


def test_tenants_and_refs_come_out_sorted_whatever_order_they_came_in() -> None:
    refs = (Ref("spec", "b" * 64, 2), Ref("approval", "c" * 64, 1), Ref("spec", "a" * 64, 3))

    leaf = orjson.loads(event(replace(CREATED, tenants=("t_z", "t_a1", "t_b"), refs=refs)))

    assert leaf["ev"]["tenants"] == ["t_a1", "t_b", "t_z"]
    assert [(ref["k"], ref["sha256"][0]) for ref in leaf["refs"]] == [("approval", "c"), ("spec", "a"), ("spec", "b")]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (replace(CREATED, tenants=("t_b2",)), "ev.tenants does not contain ev.tenant"),
        (replace(CREATED, id="a\0b"), "ev.id contains NUL"),
        (replace(CREATED, id=""), "ev.id is missing"),
        (replace(CREATED, id="i" * 513), "ev.id is longer than 512 bytes"),
        (replace(CREATED, source="\u00e9" * 257), "ev.source is longer than 512 bytes"),
        (replace(CREATED, actor="\ud800"), "a field is not valid Unicode"),
        (replace(CREATED, time="yesterday"), "ev.time is not an RFC 3339 time"),
        (replace(CREATED, time="2026-02-30T00:00:00Z"), "ev.time is not an RFC 3339 time"),
        (replace(CREATED, time="0001-01-01T00:00:00+14:00"), "ev.time is not an RFC 3339 time"),
        (replace(CREATED, aggregate_version=-1), "agg.version is not a decimal string"),
        (replace(CREATED, refs=tuple(Ref("spec", f"{n:064x}", 1) for n in range(17))), "more than 16 refs"),
        (replace(CREATED, refs=(Ref("spec", "A" * 64, 1),)), "ref.sha256 is not a SHA-256 in lower-case hex"),
        (replace(CREATED, refs=(Ref("url", "a" * 64, 1),)), "ref.k is unknown"),
        (replace(CREATED, actor="a" * MAX_LEAF), "leaf is longer than 4096 bytes"),
    ],
)
def test_an_event_outside_the_rules_is_refused_with_a_fixed_reason(told: Event, reason: str) -> None:
    assert refused(told) == reason


def test_chains_are_sorted_and_one_a_kind() -> None:
    runbook = replace(FIRST, kind="runbook")

    assert refused(CREATED, runbook, FIRST) == "chains are not sorted, one a kind"
    assert refused(CREATED, FIRST, FIRST) == "chains are not sorted, one a kind"
    assert refused(CREATED, replace(FIRST, kind="service")) == "chain.k is unknown"
    assert refused(CREATED, replace(FIRST, id="i" * 513)) == "chain.id is longer than 512 bytes"
    assert refused(CREATED, replace(FIRST, n=0)) == "chain.n starts at 1"


def test_a_reject_leaf_fits_whatever_subject_the_message_had() -> None:
    leaf = orjson.loads(reject_leaf(ORIGIN, replace(SOURCE, subject="x\ud800\0" * 2000), "ce-id is missing"))

    assert len(leaf["src"]["subject"]) == 200
    assert leaf["body"] == {"reason": "ce-id is missing"}


def test_the_same_event_at_another_place_has_the_same_content_and_another_payload_has_not() -> None:
    first = orjson.loads(event())
    again = orjson.loads(event(CREATED, replace(FIRST, n=2), src=replace(SOURCE, seq=9)))
    other = orjson.loads(event_leaf(ORIGIN, SOURCE, CREATED, b"{}", SALT, [FIRST]))

    assert same_content(first, again)
    assert not same_content(first, other)


def test_an_empty_gap_and_a_control_leaf_without_a_type_are_refused() -> None:
    with pytest.raises(LeafError, match="gap range is empty"):
        gap_leaf(ORIGIN, "EVENTS", 1, 5, 4)
    with pytest.raises(LeafError, match="body has no type"):
        control_leaf(ORIGIN, {"epoch": "2"})
    assert orjson.loads(control_leaf(ORIGIN, stream_reset("EVENTS", 2, was=1, last=9)))["body"]["last"] == "9"
