"""Runbooks of every shape, made by Hypothesis: what the properties of the language and of the engine are held to."""

from collections.abc import Iterator
from itertools import count, product
from typing import Any

from hypothesis import strategies as st

from libs.runbook.known import Known
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import runbook

INPUTS = {"yes": {"type": "boolean"}, "no": {"type": "boolean"}, "seconds": {"type": "integer"}}
KNOWN = Known({"yes": True, "no": False, "seconds": 2})
CONDITIONS = ("inputs.yes", "inputs.no", "inputs.missing", "inputs.seconds")
MAX_DEPTH = 2


def actions() -> list[dict[str, Any]]:
    """Every kind of action: its effect, how often it is tried, what it captures, whether it needs an approval."""
    tries = [("read", 1), ("read", 3), ("idempotent", 2), ("keyed", 1), ("keyed", 3), ("unsafe", 1)]
    captures = [{}, {}, {"capture": {"m": "outputs.n"}}, {"capture": {"m": "outputs.missing"}}]
    risks = [{}, {}, {"risk": "high"}]
    return [
        {"type": "action", "action": "http.request", "effect": effect, "retry": {"attempts": attempts}, **more, **risk}
        for (effect, attempts), more, risk in product(tries, captures, risks)
    ]


def checks() -> list[dict[str, Any]]:
    """Checks that hold, do not hold, or have no value, with an action and without."""
    bare = [{"type": "check", "expect": expect} for expect in ("inputs.yes", "inputs.no", "inputs.missing")]
    judged = product(("outputs.n == 1", "outputs.n == 2", "outputs.missing == 1"), (1, 2))
    acting = [
        {"type": "check", "action": "http.request", "expect": expect, "retry": {"attempts": attempts}}
        for expect, attempts in judged
    ]
    return bare + acting


OTHERS: list[dict[str, Any]] = [
    {"type": "notify", "channel": "ops", "message": "hello"},
    {"type": "wait", "for": "30s"},
    {"type": "wait", "seconds": "${{ inputs.seconds }}"},
    {"type": "manual", "instructions": "Look", "form": {"n": {"type": "integer"}}},
    {"type": "manual", "instructions": "Pull", "form": {"n": {"type": "integer"}}, "risk": "high", "timeout": "5m"},
    {"type": "approval", "prompt": "Go on?"},
    {"type": "approval", "prompt": "Go on?", "risk": "high"},
]
EVENTS: list[dict[str, Any]] = [
    {"type": "wait", "event": "go", "timeout": "5m"},
    {"type": "wait", "event": "alert-resolved", "timeout": "5m"},
    {"type": "wait", "until": "2026-03-01T10:00:00Z"},
]
CHANGES: list[dict[str, Any]] = [
    {"type": "action", "action": "http.request", "effect": effect, "rollback": {"action": "http.request"}}
    for effect in ("idempotent", "keyed", "unsafe")
]
SURE: list[dict[str, Any]] = [
    {
        "type": "action",
        "action": "http.request",
        "effect": effect,
        "probe": {"action": "http.request", "took_effect": took_effect},
        "verify": {"alert": "resolved", "within": "60s"},
    }
    for effect, took_effect in product(("keyed", "unsafe"), ("outputs.n == 1", "outputs.missing == 1"))
]
KINDS = st.one_of(*[st.sampled_from(kinds) for kinds in (actions(), actions(), checks(), OTHERS)])
LEAVES = st.one_of(KINDS, *[st.sampled_from(kinds) for kinds in (EVENTS, CHANGES, SURE)])
WHEN = st.sampled_from([None] * 12 + list(CONDITIONS))


@st.composite
def sequences(draw: st.DrawFn, ids: Iterator[str], depth: int) -> list[dict[str, Any]]:
    """Some steps, one after the other, composite ones among them as long as `depth` lasts."""
    names = [next(ids) for _ in range(draw(st.integers(1, 3)))]
    found = []
    for index, name in enumerate(names):
        step = {"id": name, **draw(_kinds(ids, names[index + 1 :], depth)), **draw(_ways(names[index + 1 :]))}
        found.append(step)
    return found


@st.composite
def any_runbooks(draw: st.DrawFn) -> Runbook:
    """Runbooks of every type of step and every key that says how it goes on."""
    ids = (f"s{number}" for number in count(1))
    steps = draw(sequences(ids, MAX_DEPTH))
    keys: dict[str, Any] = {"mode": draw(st.sampled_from(["auto", "auto", "approve", "suggest"]))}
    if draw(st.booleans()):
        keys["verify"] = {"alert": "resolved", "within": "60s"}
    if draw(st.booleans()):
        keys["on_failed"] = "rollback"
    if draw(st.booleans()):
        keys["escalation"] = {"channels": ["on-call", "ops"]}
    return runbook(*steps, inputs=INPUTS, **keys)


@st.composite
def _ways(draw: st.DrawFn, later: list[str]) -> dict[str, Any]:
    """When a step applies, and where it leads."""
    ways = {
        "requires_firing": draw(st.booleans()),
        "on_failure": draw(st.sampled_from(["stop", "stop", "continue", "ask", *later])),
        "on_success": draw(st.sampled_from([None, None, None, "end", *later])),
        "when": draw(WHEN),
    }
    return {key: way for key, way in ways.items() if way is not None}


@st.composite
def _kinds(draw: st.DrawFn, ids: Iterator[str], later: list[str], depth: int) -> dict[str, Any]:
    """What a step does."""
    kind = draw(st.sampled_from(["leaf", "leaf", "leaf", "decision", "parallel", "loop"] if depth else ["leaf"]))
    if kind == "decision":
        goals = st.sampled_from([*later, "end"])
        branches = [{"when": draw(st.sampled_from(CONDITIONS[:3])), "goto": draw(goals)} for _ in range(2)]
        return {"type": "decision", "branches": branches, "otherwise": draw(st.sampled_from([*later, "end", "fail"]))}
    failures = draw(st.sampled_from(["stop", "collect"]))
    if kind == "parallel":
        bodies = {f"b{number}": draw(sequences(ids, depth - 1)) for number in range(draw(st.integers(1, 3)))}
        join = draw(st.sampled_from(["all", "any", *range(1, len(bodies) + 1)]))
        return {"type": "parallel", "branches": bodies, "join": join, "failures": failures}
    if kind == "loop":
        over = draw(st.lists(st.sampled_from(["x", "y"]), max_size=3))
        concurrency = draw(st.integers(1, 3))
        steps = draw(sequences(ids, depth - 1))
        return {"type": "loop", "over": over, "concurrency": concurrency, "failures": failures, "steps": steps}
    return draw(LEAVES)
