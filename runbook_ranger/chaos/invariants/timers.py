"""Invariant 10: every due timer fires once, never early; cancelled ones never."""

from collections.abc import Iterator
from typing import Final

from runbook_ranger.chaos.evidence import Evidence, Violation, seconds

TABLES: Final = ("executor.timer", "approvals.timer")
LATE_SECONDS: Final = 10.0


def check(evidence: Evidence) -> Iterator[Violation]:
    """Look at every change of a timer, and at those that still stand."""
    for table in TABLES:
        for change in evidence.changed(table):
            subject = f"{table} {change.row['kind']} of {change.row['ref_id']}"
            before, after = change.old.get("state"), change.new.get("state")
            if after != "fired":
                continue
            if before == "cancelled":
                yield Violation(10, subject, "had been cancelled and fired")
            elif before == "fired" and change.old["fired_at"] != change.new["fired_at"]:
                yield Violation(10, subject, f"fired at {change.old['fired_at']} and at {change.new['fired_at']}")
            elif seconds(change.new["fired_at"]) < seconds(change.new["due_at"]):
                yield Violation(10, subject, f"was due at {change.new['due_at']} and fired at {change.new['fired_at']}")
        for row in evidence.table(table):
            if row["state"] == "set" and seconds(row["due_at"]) + LATE_SECONDS < evidence.gathered_at:
                yield Violation(10, f"{table} {row['kind']} of {row['ref_id']}", f"is due since {row['due_at']}")
