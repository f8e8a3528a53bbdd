"""The pattern takes nothing that the careful look refuses, and reads the same from it."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.tlog.errors import BrokenLog, LeafError
from libs.tlog.export import line
from libs.tlog.findings import read_leaf
from libs.tlog.leaf import Link, Ref, Source, event_leaf, plain_leaf, usual_leaf
from libs.tlog.profile import encode
from libs.tlog.shape import CHAIN_KINDS
from libs.tlog.usual import FIELDS, event_of, usual_event, usual_lines
from tests.unit.tlog.vectors import flip
from tests.unit.tlog.worked import CREATED, INCIDENT, ORIGIN, PAYLOAD, SALT, SOURCE, redacted

TOLD = replace(CREATED, tenants=(CREATED.tenant,), runbook_id="rb", execution_id="e-1")
LINKS = [
    Link("execution", "e-1", 7, b"\1" * 32),
    Link("incident", INCIDENT, 2, b"\2" * 32),
    Link("runbook", "r", 1, SALT),
]
USUAL = event_leaf(ORIGIN, SOURCE, TOLD, PAYLOAD, SALT, LINKS)
PIECES = st.sampled_from(
    [b"", b'"', b",", b"{", b"}", b"]", b"\\", b"\\u0041", b"\n", b"\x00", b"\x7f", b"\xc3\xa9", b"\xff", b"0", b"00",
     b" ", b"t_a1", b"9" * 20, b"x" * 600, b'"k":"incident"',
     b'{"id":"x","k":"runbook","n":"1","prev":"%b"}' % (b"a" * 64)]
)  # fmt: skip


def agree(leaf: bytes) -> None:
    quick = usual_event(leaf)
    if quick is not None:
        assert event_of(read_leaf(0, leaf)) == quick


def test_a_usual_event_is_read_by_the_pattern() -> None:
    event = usual_event(USUAL)

    assert event is not None
    told = dict(zip(FIELDS, event, strict=True))
    assert told["id"] == CREATED.id.encode()
    assert (told["execution"], told["execution n"], told["runbook n"]) == (b"e-1", b"7", b"1")
    agree(USUAL)


@pytest.mark.parametrize("char", [b'"', b",", b"x", b"/"])
def test_another_version_is_not_ours(char: bytes) -> None:
    assert usual_event(USUAL.replace(b'"rr.leaf/1"', b'"rr' + char + b'leaf/1"')) is None


@pytest.mark.parametrize("kinds", [[], [0], [1], [2], [0, 1], [0, 2], [1, 2]])
def test_any_of_the_chains_may_be_missing(kinds: list[int]) -> None:
    leaf = event_leaf(ORIGIN, SOURCE, TOLD, PAYLOAD, SALT, [LINKS[at] for at in kinds])

    event = usual_event(leaf)

    assert event is not None
    told = dict(zip(FIELDS, event, strict=True))
    assert {kind for kind in CHAIN_KINDS if told[kind]} == {LINKS[at].kind for at in kinds}
    agree(leaf)


@given(st.integers(0, len(USUAL) * 8 - 1))
def test_after_any_flip_of_a_bit_both_looks_agree(bit: int) -> None:
    agree(flip(USUAL, bit))


@given(st.integers(0, len(USUAL)), st.integers(0, 4), PIECES)
def test_after_any_insertion_both_looks_agree(at: int, cut: int, piece: bytes) -> None:
    agree(USUAL[:at] + piece + USUAL[at + cut :])


TEXTS = st.one_of(
    st.sampled_from(["", "a", "x" * 512, "x" * 513, "ü", "\ud800", '"', "\\", "\0", "\x7f", "a\nb", "0", "svc:x", " ",
                     '","k":"incident","n":"1","prev":"', '"},{"id":"']),
    st.text(max_size=8),
)  # fmt: skip
TIMES = st.sampled_from([CREATED.time, "2026-02-30T00:00:00Z", "2026-02-28T00:00:00Z", "2026-02-28T24:00:00Z", "soon"])
PLACES = st.sampled_from([name for name in CREATED.__struct_fields__ if type(getattr(TOLD, name)) is str])
LENGTHS = st.sampled_from([0, 1, 7, 10**18, 10**19, -1])


def either(way: Callable[..., bytes | None], *told: Any) -> bytes | str | None:
    try:
        return way(*told)
    except LeafError as error:
        return error.reason


@given(
    st.dictionaries(PLACES, TEXTS, max_size=2),
    TIMES,
    st.lists(st.builds(Link, st.sampled_from([*sorted(CHAIN_KINDS), "x"]), TEXTS, LENGTHS, st.just(SALT)), max_size=3),
    st.builds(Source, TEXTS, LENGTHS, LENGTHS, TEXTS, st.sampled_from([SOURCE.ts, "2026-03-01T10:00:00Z"])),
    st.sampled_from([SALT, SALT[1:]]),
)
def test_the_template_writes_what_the_plain_way_writes_or_nothing(
    texts: dict[str, str], time: str, links: list[Link], source: Source, salt: bytes
) -> None:
    for told in (replace(TOLD, **{"time": time, **texts}), TOLD):
        for at, src in ((links, source), (LINKS, source), (links, SOURCE), (LINKS, SOURCE)):
            usual = either(usual_leaf, ORIGIN, src, told, PAYLOAD, salt, at)

            if usual is not None:
                assert usual == either(plain_leaf, ORIGIN, src, told, PAYLOAD, salt, at)


def test_the_template_writes_a_usual_event() -> None:
    assert usual_leaf(ORIGIN, SOURCE, TOLD, PAYLOAD, SALT, LINKS) == USUAL
    assert plain_leaf(ORIGIN, SOURCE, TOLD, PAYLOAD, SALT, LINKS) == USUAL
    assert usual_leaf(ORIGIN, SOURCE, CREATED, PAYLOAD, SALT, LINKS) is None


REFS = [Ref("spec", "a" * 64, 3), Ref("output", "b" * 64, 0)]


@pytest.mark.parametrize("refs", [REFS[:1], REFS[1:]])
def test_one_object_may_be_named(refs: list[Ref]) -> None:
    leaf = event_leaf(ORIGIN, SOURCE, replace(TOLD, refs=tuple(refs)), PAYLOAD, SALT, LINKS)

    assert usual_event(leaf) is not None
    agree(leaf)
    assert usual_event(event_leaf(ORIGIN, SOURCE, replace(TOLD, refs=tuple(REFS)), PAYLOAD, SALT, LINKS)) is None


def test_lines_are_read_at_once_where_all_of_them_are_usual() -> None:
    block = line(6, USUAL, b"{}", SALT) + line(7, USUAL, b"", SALT)

    found = usual_lines(block)

    assert found is not None
    assert [(told[0], told[1], told[2]) for told in found] == [
        (index, USUAL, usual_event(USUAL)) for index in (b"6", b"7")
    ]
    assert [told[3] for told in found] == [b"e30=", b""]


@given(st.integers(0, 2000), st.integers(0, 4), PIECES)
def test_nothing_between_the_lines_is_passed_over(at: int, cut: int, piece: bytes) -> None:
    block = line(6, USUAL, b"{}", SALT) + line(7, USUAL, b"", SALT)
    bent = block[:at] + piece + block[at + cut :]

    found = usual_lines(bent)

    if found is not None:
        assert (
            b"".join(
                b'{"index":"%b","leaf":%b,"payload":"%b","salt":"%b"}\n' % (told[0], told[1], told[3], told[4])
                for told in found
            )
            == bent
        )
        for told in found:
            assert usual_event(told[1]) == told[2]


@given(st.text(max_size=10), st.sampled_from(["actor", "correlation", "causation", "type", "id", "source", "time"]))
def test_whatever_text_stands_in_a_field_both_looks_agree(text: str, field: str) -> None:
    leaf = orjson.loads(USUAL)
    leaf["ev"][field] = text
    agree(encode(leaf))


@pytest.mark.parametrize(
    "time",
    [
        "2026-02-29T00:00:00Z",
        "2026-02-28T24:00:00Z",
        "2026-02-28T23:60:00Z",
        "0000-01-01T00:00:00Z",
        "2026-02-28T1:00:00Z",
    ],
)
def test_a_time_that_does_not_exist_is_not_taken(time: str) -> None:
    leaf = USUAL.replace(CREATED.time.encode(), time.encode())

    assert usual_event(leaf) is None
    with pytest.raises(BrokenLog, match="RFC 3339"):
        read_leaf(0, leaf)


def test_other_leaves_are_left_to_the_careful_look() -> None:
    leaves = [entry.leaf for entry in redacted().entries]

    assert not any(usual_event(leaf) for leaf in leaves if b'"kind":"event"' not in leaf)
    for leaf in leaves:
        agree(leaf)
    assert usual_event(USUAL + b" " * 4096) is None
