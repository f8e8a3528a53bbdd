"""What the pattern of usual leaves takes holds every rule, and no field holds what is another's."""

from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.tlog.errors import LeafError
from libs.tlog.leaf import Link, event_leaf
from libs.tlog.shape import check
from libs.tlog.usual import usual_event
from tests.unit.tlog.worked import CREATED, INCIDENT, ORIGIN, PAYLOAD, SALT, SOURCE

LINKS = [Link("execution", "e-1", 7, b"\1" * 32), Link("incident", INCIDENT, 2, b"\2" * 32)]
TOLD = replace(CREATED, tenants=(CREATED.tenant,), refs=())
USUAL: dict[str, Any] = orjson.loads(event_leaf(ORIGIN, SOURCE, TOLD, PAYLOAD, SALT, LINKS))
ODD = st.sampled_from(
    ["", "0", "7", "07", "-1", "1 2", " ", "9" * 19, "9" * 20, "a\0b", "x" * 128, "x" * 129, "ü" * 128, "ü" * 257,
     "a" * 64, "A" * 64, "event", "gap", "rr.leaf/1", "incident", "runbook", "2026-02-30T00:00:00Z",
     "2026-02-28T00:00:00Z", "2026-02-28T00:00:00.000000000Z", "0001-01-01T00:00:00+14:00",
     7, 0, None, True, [], {}, ["x"], [["x"]], {"x": "y"}]
)  # fmt: skip


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    return [place for key in keys for place in [(*path, key), *_places(node[key], (*path, key))]]


PLACES = st.sampled_from(_places(USUAL))


@given(st.lists(st.tuples(PLACES, ODD | st.just(...)), min_size=1, max_size=2))
def test_what_is_usual_holds_every_rule(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    leaf = deepcopy(USUAL)
    for path, value in changes:
        _change(leaf, path, value)

    if usual_event(orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS)) is not None:
        check(leaf)


@pytest.mark.parametrize("path", _places(USUAL))
def test_no_field_may_hold_what_is_not_its_own(path: tuple[Any, ...]) -> None:
    check(USUAL)
    leaf = deepcopy(USUAL)
    _change(leaf, path, {"x": ["y"]})

    with pytest.raises(LeafError):
        check(leaf)


def _change(leaf: Any, path: tuple[Any, ...], value: Any) -> None:
    """Put a value in its place, or nothing for `...`; a place that an earlier change took away stays away."""
    for key in path[:-1]:
        try:
            leaf = leaf[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(leaf, dict | list):
        try:
            if value is ...:
                del leaf[path[-1]]
            else:
                leaf[path[-1]] = value
        except (IndexError, KeyError, TypeError):
            return
