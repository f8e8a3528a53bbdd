"""What stands beside an export's files is read as it was written, or not at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.marking import Marking
from libs.tlog.errors import FormatError
from libs.tlog.tree import Frontier, node_hash
from services.timeline.frontiers import subtrees
from services.timeline.marks import Mark, Marks, decoded, encoded

ROWS: list[dict[str, Any]] = [
    {"index": 3, "environment": "prod", "clearance": 2, "dataschema": "x/1", "traceparent": "00-1"},
    {"index": 5, "environment": "", "clearance": 0, "dataschema": "", "traceparent": ""},
]
RAW = encoded("ranger.test", 3, 9, ROWS)


def test_what_is_written_is_read() -> None:
    assert decoded(RAW) == Marks(
        "ranger.test", 3, 9, {3: Mark(Marking("prod", 2), "x/1", "00-1"), 5: Mark(Marking("", 0), "", "")}
    )
    assert RAW.startswith(b'{"end":"9","first":"3","origin":"ranger.test","v":"rr.marks/1"}\n')
    assert Mark().marking == Marking("", 3)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        RAW[:-1],
        RAW[: len(RAW) // 2],
        RAW.replace(b"rr.marks/1", b"rr.marks/2"),
        RAW.replace(b'"clearance":"2"', b'"clearance":"4"'),
        RAW.replace(b'"clearance":"2"', b'"clearance":2'),
        RAW.replace(b'"environment":"prod"', b'"environment":"a b"'),
        RAW.replace(b'"index":"5"', b'"index":"3"'),
        RAW.replace(b'"index":"5"', b'"index":"9"'),
        RAW.replace(b'"index":"5"', b'"index": "5"'),
        RAW.replace(b'"traceparent":"00-1"', b'"other":"00-1"'),
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        decoded(raw)


@given(st.integers(0, 700))
def test_a_frontier_is_made_of_the_subtrees_that_its_size_names(size: int) -> None:
    def root(level: int, number: int) -> bytes:
        if not level:
            return number.to_bytes(32)
        return node_hash(root(level - 1, 2 * number), root(level - 1, 2 * number + 1))

    grown = Frontier()
    for number in range(size):
        grown.append(number.to_bytes(32))

    assert Frontier(size, [root(*subtree) for subtree in subtrees(size)]).to_bytes() == grown.to_bytes()
