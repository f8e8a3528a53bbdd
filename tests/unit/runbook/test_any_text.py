"""Whatever the text, the answer is a runbook or a list of problems; nothing else escapes."""

from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from libs.runbook.hashing import spec_hash
from libs.runbook.loader import load
from libs.runbook.problems import Problem, RunbookInvalid
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import MUTATING_STEP, STEP, VERIFY, text

INPUTS = "inputs: {x: {default: a}}\n"
WHOLE = text(STEP + MUTATING_STEP, VERIFY + INPUTS + "triggers: [{alert: a, labels: {b: [c, d]}}]\n")
PIECES = st.sampled_from(
    ["\n", " ", "  ", "- ", ": ", "[", "]", "{", "}", "&a", "*a", "!!str", "'", '"', "|", ">", "#"]
)
KEYS = st.sampled_from(
    [*Runbook.model_fields, "apiVersion", "type", "action", "with", "effect", "resource", "on_success", "from", "retry"]
)
WORDS = st.sampled_from(
    ["ranger/v1", "low", "auto", "action", "read", "keyed", "a", "b", "60s", "stop", "http.request", "${{ inputs.a }}"]
)
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8) | st.floats() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=6),
    max_leaves=25,
)


def judged(source: str | bytes) -> None:
    problems: tuple[Problem, ...] = ()
    loaded = None
    try:
        loaded = load(source)
    except RunbookInvalid as invalid:
        problems = invalid.problems

    assert (loaded is None) == bool(problems)
    assert all(problem.message for problem in problems)
    orjson.dumps([problem.to_json() for problem in problems])
    if loaded is not None:
        stored = orjson.loads(orjson.dumps(loaded.spec_json))
        assert spec_hash(Runbook.from_json(stored).to_json()) == loaded.spec_hash


@given(st.text() | st.binary())
def test_any_text(source: str | bytes) -> None:
    judged(source)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 6), PIECES | KEYS | WORDS | st.text(max_size=3))))
@example([])
def test_a_runbook_with_anything_written_into_it(edits: list[tuple[int, int, str]]) -> None:
    source = WHOLE
    for place, length, piece in edits:
        source = source[:place] + piece + source[place + length :]

    judged(source)


@given(st.dictionaries(KEYS, VALUES, max_size=12))
def test_any_data_under_the_languages_keys(data: dict[str, Any]) -> None:
    base = {"apiVersion": "ranger/v1", "id": "a", "name": "A", "risk": "low", "mode": "auto"}
    step = {"id": "a", "type": "action", "action": "http.request", "effect": "read"}

    judged(orjson.dumps({**base, "steps": [step], **data}))
    judged(orjson.dumps({**base, "steps": [{**step, **data}]}))
    judged(orjson.dumps({**base, "steps": [step], "inputs": {"x": data}, "triggers": [data]}))
