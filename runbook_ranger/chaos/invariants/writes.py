"""Invariant 1: every acknowledged API write is there, and no refused one is."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from runbook_ranger.chaos.evidence import Evidence, Violation
from runbook_ranger.chaos.history import Call

Absence: TypeAlias = Callable[[Evidence, Call], str]
"""What is missing of an acknowledged call; empty when it is all there."""

COMMANDS: Final = ("incident.command", "catalog.command", "executor.command", "approvals.command")


def check(evidence: Evidence) -> Iterator[Violation]:
    """Compare each call's outcome with what is stored."""
    keys = {row["request_key"] for table in COMMANDS for row in evidence.table(table)}
    for call in evidence.history:
        subject = f"call {call.number} ({call.name})"
        if call.outcome == "fail" and call.key and call.key in keys:
            yield Violation(1, subject, f"was refused with {call.status}, and yet its answer is stored under its key")
        if call.outcome != "ok":
            continue
        if call.key and call.key not in keys:
            yield Violation(1, subject, f"was acknowledged; no service has its request key {call.key}")
        missing = _MISSING.get(call.name, _nothing)(evidence, call)
        if missing:
            yield Violation(1, subject, f"was acknowledged; {missing}")


def _nothing(_evidence: Evidence, _call: Call) -> str:
    return ""


def _alert(evidence: Evidence, call: Call) -> str:
    fingerprint = call.about["fingerprint"]
    found = [row for row in evidence.table("incident.alert") if row["fingerprint"] == fingerprint]
    if not found:
        return f"there is no alert {fingerprint}"
    if call.about["status"] == "resolved" and all(row["status"] != "resolved" for row in found):
        return f"alert {fingerprint} still fires"
    return ""


def _started(evidence: Evidence, call: Call) -> str:
    wanted = call.answer.get("execution_id")
    return "" if wanted in _ids(evidence, "executor.execution", "execution_id") else f"there is no execution {wanted}"


def _approval(state: str) -> Absence:
    def missing(evidence: Evidence, call: Call) -> str:
        wanted = call.about["approval_id"]
        reached = (
            change.new.get("state")
            for change in evidence.changed("approvals.approval")
            if change.row["approval_id"] == wanted
        )
        return "" if state in set(reached) else f"approval {wanted} was never {state}"

    return missing


def _switched(evidence: Evidence, call: Call) -> str:
    if not call.answer.get("changed"):
        return ""
    reasons = {change.new.get("reason") for change in evidence.changed("executor.kill_switch")}
    return "" if call.about["reason"] in reasons else "the kill switch was never set for that reason"


def _decided(evidence: Evidence, call: Call) -> str:
    facts = (
        change
        for change in evidence.changed("executor.outbox")
        if change.row["subject"] == "runbook.step_decided" and change.row["aggregate_id"] == call.about["execution_id"]
    )
    return "" if any(facts) else f"no decision of execution {call.about['execution_id']} was ever told"


def _aborted(evidence: Evidence, call: Call) -> str:
    wanted = call.about["execution_id"]
    states = {row["state"] for row in evidence.table("executor.execution") if row["execution_id"] == wanted}
    return "" if states == {"aborted"} else f"execution {wanted} is {states or 'missing'}"


def _ids(evidence: Evidence, table: str, column: str) -> set[str]:
    return {row[column] for row in evidence.table(table)}


_MISSING: Final[Mapping[str, Absence]] = MappingProxyType(
    {
        "alert": _alert,
        "start": _started,
        "grant": _approval("granted"),
        "reject": _approval("rejected"),
        "revoke": _approval("revoked"),
        "switch": _switched,
        "decide": _decided,
        "abort": _aborted,
    }
)
