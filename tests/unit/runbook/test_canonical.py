"""The quick way to canonical bytes gives what the careful one gives, and refuses what that refuses."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.runbook.canonical import MAX_DEPTH, MAX_INTEGER, OutsideProfile, canonical, canonical_with_care

TEXTS = st.text(st.characters(exclude_categories=[])) | st.text()
INTEGERS = st.integers() | st.sampled_from([MAX_INTEGER, MAX_INTEGER + 1, -MAX_INTEGER, -MAX_INTEGER - 1])
LEAVES = st.none() | st.booleans() | INTEGERS | TEXTS | st.floats() | st.binary()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(TEXTS | st.integers(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_both_ways_give_the_same(value: Any) -> None:
    assert _outcome(canonical, value) == _outcome(canonical_with_care, value)


def test_both_ways_stop_at_the_same_depth() -> None:
    value: Any = "bottom"
    for _ in range(MAX_DEPTH):
        value = [value]

    assert canonical(value) == canonical_with_care(value)
    assert _outcome(canonical, [value]) == _outcome(canonical_with_care, [value])
    assert isinstance(_outcome(canonical, [value]), str)


def _outcome(way: Any, value: Any) -> bytes | str:
    try:
        made: bytes = way(value)
    except OutsideProfile as error:
        return str(error)
    return made
