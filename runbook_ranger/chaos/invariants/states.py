"""Invariants 8 and 9: what a dead worker leaves behind, and states that stand for good."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from runbook_ranger.chaos.evidence import Change, Evidence, Violation, lives

ACTION_MOVES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "ready": frozenset({"running", "failed", "cancelled"}),
        "running": frozenset({"succeeded", "failed", "unknown", "cancelled"}),
        "unknown": frozenset({"succeeded", "failed"}),  # by probe, late result or person
        "succeeded": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
    }
)

SWEPT: Final = "the worker's lease ran out"
TERMINAL: Final[Mapping[str, tuple[str, str, frozenset[str]]]] = MappingProxyType(
    {
        "executor.execution": ("execution_id", "state", frozenset({"failed", "aborted", "completed"})),
        "executor.step_run": ("step_run_id", "state", frozenset({"succeeded", "failed", "skipped", "cancelled"})),
        "approvals.approval": ("approval_id", "state", frozenset({"rejected", "expired", "revoked", "withdrawn"})),
        "incident.incident": ("incident_id", "status", frozenset({"closed"})),
        "incident.execution": ("execution_id", "state", frozenset({"failed", "aborted", "completed"})),
    }
)


def check_unsafe(evidence: Evidence) -> Iterator[Violation]:
    """Invariant 8: an unsafe action whose worker died ends `unknown`; it is never begun a second time by itself.

    A worker that lives, and notices the end of its lease before it has sent anything, may say itself that nothing was
    done; then the target must never have heard of it. The sweeper, which finds the dead, cannot know.
    """
    called = {call["key"] for call in evidence.ledger.calls}
    unsafe = [c for c in evidence.changed("executor.action_log") if c.row["effect"] == "unsafe"]
    for change in unsafe:
        before, after = change.old.get("state"), change.new.get("state")
        subject = f"action {change.row['action_id']} ({change.row['path']})"
        if before in {"running", "unknown"} and after == "ready":
            yield Violation(8, subject, f"is unsafe and went from {before} to ready")
        lost = change.new.get("error_code") == "lease_lost"
        certain = change.new.get("message") != SWEPT and change.row["idem_key"] not in called
        if before == "running" and lost and after != "unknown" and not certain:
            yield Violation(8, subject, f"is unsafe, lost its lease and is {after} instead of unknown")
    for (step_run,), changes in lives(unsafe, "step_run_id"):
        yield from _repeated(str(step_run), changes)


def _repeated(step_run: str, changes: list[Change]) -> Iterator[Violation]:
    """Whether an attempt was added after one that nobody knows the end of."""
    doubted: set[int] = set()
    for change in changes:
        row = change.row
        if not change.old and doubted:
            detail = f"is unsafe; attempt {row['attempt']} was made after attempt {max(doubted)} was lost"
            yield Violation(8, f"step run {step_run}", detail)
        if change.new.get("error_code") == "lease_lost":
            doubted.add(row["attempt"])


def check_terminal(evidence: Evidence) -> Iterator[Violation]:
    """Invariant 9: no terminal state ever changes, except `unknown`."""
    for table, (key, column, terminal) in TERMINAL.items():
        for change in evidence.changed(table):
            before, after = change.old.get(column), change.new.get(column)
            if before in terminal and after != before:
                yield Violation(9, f"{table} {change.row[key]}", f"was {before} and became {after or 'nothing'}")
    for change in evidence.changed("executor.action_log"):
        before, after = change.old.get("state"), change.new.get("state")
        if before is not None and after != before and after not in ACTION_MOVES[before]:
            yield Violation(9, f"action {change.row['action_id']}", f"was {before} and became {after or 'nothing'}")
