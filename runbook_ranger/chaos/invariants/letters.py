"""Invariant 12: every injected poison is a dead letter of each consumer that heard it, and nothing else is one."""

from collections.abc import Iterator

from runbook_ranger.chaos.evidence import Evidence, Violation


def check(evidence: Evidence) -> Iterator[Violation]:
    """Compare the dead letters with what was injected; what went with the bus's store was never heard."""
    wanted = {
        (f"{durable}:{stream}", injury.detail["seq"])
        for injury in evidence.injuries
        if injury.kind == "poison"
        for (stream, durable), subjects in evidence.consumers.items()
        if stream == injury.detail.get("stream") and injury.detail["subject"] in subjects and durable != "timeline"
    }
    found = {
        (row["consumer"], row["stream_seq"]): row
        for table, rows in evidence.rows.items()
        if table.endswith(".dead_letter")
        for row in rows
    }
    for consumer, seq in sorted(wanted - set(found)) if not evidence.erased else ():
        yield Violation(12, f"poison at sequence {seq}", f"{consumer} has no dead letter of it")
    for consumer, seq in sorted(set(found) - wanted):
        row = found[consumer, seq]
        yield Violation(12, f"{row['subject']} at sequence {seq}", f"is a dead letter of {consumer}: {row['reason']}")
