"""Invariant 3: an aggregate's facts are versions 1, 2, 3… in order, and no state ever goes back."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import orjson

from runbook_ranger.chaos.evidence import Evidence, Violation

COUNTERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "incident.incident": ("version",),
        "incident.execution": ("version",),
        "executor.execution": ("version",),
        "executor.alert_state": ("version",),
        "executor.kill_switch": ("epoch",),
        "approvals.approval": ("version",),
        "timeline.log_state": ("size", "term", "epoch"),
    }
)
"""Columns that only rise while a row lives."""


def check(evidence: Evidence) -> Iterator[Violation]:
    """Look at the outboxes, the log and every row that counts."""
    yield from _written(evidence)
    yield from _chained(evidence)
    yield from _rising(evidence)


def _written(evidence: Evidence) -> Iterator[Violation]:
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for change in evidence.changes:
        if change.table.endswith(".outbox") and not change.old and change.row["aggregate_type"] != "dead_letter":
            versions[change.table, change.row["aggregate_id"]].append(change.row["aggregate_version"])
    for (table, aggregate), found in versions.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield Violation(3, f"aggregate {aggregate}", f"has the versions {sorted(found)} in {table}")


def _chained(evidence: Evidence) -> Iterator[Violation]:
    ours = {str(c.row["event_id"]) for c in evidence.changes if c.table.endswith(".outbox")}
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for entry in evidence.log.entries:
        leaf = orjson.loads(entry.leaf)
        if leaf["kind"] == "event" and leaf["ev"]["id"] in ours:
            versions[leaf["agg"]["type"], leaf["agg"]["id"]].append(int(leaf["agg"]["version"]))
    for (kind, aggregate), found in versions.items():
        if found != list(range(1, len(found) + 1)):
            yield Violation(3, f"{kind} {aggregate}", f"stands in the log as versions {found}")


def _rising(evidence: Evidence) -> Iterator[Violation]:
    for change in evidence.changes:
        for column in COUNTERS.get(change.table, ()):
            before, after = change.old.get(column), change.new.get(column)
            if before is not None and after is not None and after < before:
                yield Violation(
                    3, f"{change.table} (change {change.number})", f"{column} went from {before} to {after}"
                )
