"""Small evidence made by hand: one execution that went well, and ways to bend it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runbook_ranger.chaos.evidence import Change, Evidence, Ledger, Message
from runbook_ranger.chaos.history import Call

KEY, ACTION, EXECUTION, STEP = "rr-key", "action-1", "execution-1", "step-run-1"
BEGAN, ENDED = "2026-03-01T10:00:02+00:00", "2026-03-01T10:00:09+00:00"
EFFECT: Mapping[str, Any] = {
    "call": 1, "key": KEY, "fence": 7, "resource": "r", "endpoint": "/apply",
    "start": "2026-03-01T10:00:03+00:00", "end": "2026-03-01T10:00:04+00:00",
}  # fmt: skip
ATTEMPT: Mapping[str, Any] = {
    "action_id": ACTION, "step_run_id": STEP, "execution_id": EXECUTION, "tenant_id": "default", "path": "act",
    "attempt": 1, "idem_key": KEY, "effect": "unsafe", "fence": None, "action_hash": "a", "resource_id": "r",
    "error_code": None, "state": "ready",
}  # fmt: skip
RUN: Mapping[str, Any] = {
    "execution_id": EXECUTION, "state": "completed", "spec_hash": "s", "plan_hash": "p", "ended_at": ENDED,
    "traceparent": "", "alert": {"labels": {"case": "c"}},
}  # fmt: skip
SPEC: Mapping[str, Any] = {
    "spec_hash": "s",
    "body": {"risk": "low", "steps": [{"id": "act", "type": "action"}, {"id": "after", "type": "action"}]},
}


def at(second: float) -> float:
    """Seconds since 1970 of a moment of that minute."""
    return 1772359200.0 + second


def changes(table: str, *states: Mapping[str, Any], first: int = 1, began: float = 1.0) -> list[Change]:
    """The life of one row, a second a change."""
    pairs = zip([{}, *states], states, strict=False)
    return [Change(first + n, at(began + n), table, old, new) for n, (old, new) in enumerate(pairs)]


def attempt(*moves: Mapping[str, Any], **more: Any) -> list[Change]:
    """The life of one attempt: as it was made, and then with each of the moves."""
    rows = [{**ATTEMPT, **more}]
    for move in moves:
        rows.append({**rows[-1], **move})
    return changes("executor.action_log", *rows)


def claimed(**more: Any) -> list[Change]:
    """An attempt that was claimed and succeeded."""
    return attempt({"state": "running", "fence": 7}, {"state": "succeeded"}, **more)


def evidence(*noted: Change, **more: Any) -> Evidence:
    """Evidence of one execution with one effect, unless told otherwise."""
    rows = {
        "executor.action_log": [ATTEMPT],
        "executor.execution": [RUN],
        "executor.spec": [SPEC],
        **more.pop("rows", {}),
    }
    return replace(Evidence(changes=noted, rows=rows, ledger=Ledger(effects=[EFFECT])), **more)


def call(name: str, outcome: Any = "ok", *, key: str = "", **about: Any) -> Call:
    """One call of the history."""
    return Call(1, name, at(0), about, key, outcome, at(1), 200, about.pop("answer", {}))


def event(number: int, subject: str = "incident.created", **headers: str) -> Message:
    """One message of EVENTS."""
    return Message("EVENTS", 1, number, subject, {"ce-id": f"event-{number}", **headers}, b"{}")


def outbox(number: int, *, version: int = 1, aggregate: str = "i", schema: str = "incident") -> Change:
    """A fact as it is written to an outbox."""
    row = {
        "event_id": f"event-{number}", "subject": "incident.created", "aggregate_type": "incident",
        "aggregate_id": aggregate, "aggregate_version": version,
    }  # fmt: skip
    return Change(number, at(number), f"{schema}.outbox", {}, row)
