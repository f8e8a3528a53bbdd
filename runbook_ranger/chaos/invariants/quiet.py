"""Invariant 11: after healing there is soon nothing left to do."""

from collections.abc import Iterator

from runbook_ranger.chaos.evidence import Evidence, Violation


def check(evidence: Evidence) -> Iterator[Violation]:
    """Whatever was still unsettled when the time for it was over."""
    for thing in evidence.unsettled:
        yield Violation(11, "after healing", thing)
