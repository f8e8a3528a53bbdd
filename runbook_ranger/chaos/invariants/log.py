"""Invariant 4: the timeline verifies; no forks; every fact stands in it once."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import orjson

from libs.tlog.errors import TlogError
from libs.tlog.verify import verify
from runbook_ranger.chaos.evidence import Evidence, Violation

STRANGE: Final = frozenset({"conflict", "gap"})


def check(evidence: Evidence) -> Iterator[Violation]:
    """Compute the log anew, then compare it with what was written to the outboxes."""
    log = evidence.log
    written = {
        str(change.row["event_id"])
        for change in evidence.changes
        if change.table.endswith(".outbox") and not change.old and not change.row["subject"].startswith("dlq.")
    }
    if log.state is None:
        if written:
            yield Violation(4, "the log", f"does not exist; {len(written)} facts were written")
        return
    try:
        verify(log.entries, log.state, log.heads)
    except (TlogError, ValueError, KeyError) as finding:
        yield Violation(4, "the log", f"does not verify: {finding}")
    yield from _entries(evidence, written)


def _entries(evidence: Evidence, written: set[str]) -> Iterator[Violation]:
    chained: Counter[str] = Counter()
    for entry in evidence.log.entries:
        leaf = orjson.loads(entry.leaf)
        if leaf["kind"] in STRANGE:
            yield Violation(4, f"leaf {entry.index}", f"is a {leaf['kind']}: {leaf['body']}")
        elif leaf["kind"] == "event":
            chained[leaf["ev"]["id"]] += 1
    for event, times in chained.items():
        if times > 1:
            yield Violation(4, f"event {event}", f"has {times} entries")
    for event in sorted(written - set(chained)):
        yield Violation(4, f"event {event}", "was written to an outbox and is not in the log")
