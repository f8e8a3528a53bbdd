"""Invariant 6, for a concurrency key: no more executions change things at once than their runbook lets live.

An execution has its place at least from its first effect until it has ended.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runbook_ranger.chaos.evidence import Evidence, Violation, seconds

UNENDED: Final = float("inf")


@dataclass(frozen=True, slots=True)
class _Stay:
    """How long an execution had a place, as far as the target can tell."""

    execution: str
    limit: int
    start: float
    end: float


def check(evidence: Evidence) -> Iterator[Violation]:
    """Whoever begins to change something finds at most so many others under its key."""
    for key, stays in _stays(evidence).items():
        for stay in stays:
            others = [other.execution for other in stays if other is not stay and other.start <= stay.start < other.end]
            if len(others) >= stay.limit:
                detail = f"execution {stay.execution} changed something while {', '.join(others)} lived"
                yield Violation(6, f"concurrency key {key}", f"{detail}; at most {stay.limit} may at once")


def _stays(evidence: Evidence) -> Mapping[str, list[_Stay]]:
    """The stays by key; the keys of a run are texts without templates."""
    owners = {row["idem_key"]: row["execution_id"] for row in evidence.table("executor.action_log")}
    specs: Mapping[str, Any] = {row["spec_hash"]: row["body"] for row in evidence.table("executor.spec")}
    began: dict[str, float] = {}
    for effect in evidence.ledger.effects:
        owner = owners.get(effect["key"] or "")
        if owner is not None:
            began[owner] = min(began.get(owner, UNENDED), seconds(effect["start"]))
    stays: dict[str, list[_Stay]] = defaultdict(list)
    for row in evidence.table("executor.execution"):
        wanted = specs.get(row["spec_hash"], {}).get("concurrency")
        start = began.get(row["execution_id"])
        if wanted is not None and start is not None:
            end = seconds(row["ended_at"]) if row["ended_at"] else UNENDED
            stays[wanted["key"]].append(_Stay(row["execution_id"], wanted.get("limit", 1), start, end))
    return stays
