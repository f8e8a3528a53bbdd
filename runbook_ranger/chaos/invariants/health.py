"""Invariant 13: health answers within a second throughout, or the process ends."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from runbook_ranger.chaos.evidence import Evidence, Injury, Look, Violation, lives_of

LIMIT_SECONDS: Final = 1.0
CALM_SECONDS: Final = 0.5
"""Where a bystander of the same machine took longer, the machine was slow, and nobody can be blamed."""
WATCHDOG_SECONDS: Final = 40.0
AFTERWARDS: Final = 3.0
STANDING_STILL: Final = frozenset({"freeze", "freeze_server"})


def check(evidence: Evidence) -> Iterator[Violation]:
    """Two looks in a row without an answer are a process that stands still, unless it was made to."""
    for name, looks in lives_of(evidence.looks):
        for first, second in pairwise(looks):
            if first.pid == second.pid and _late(first) and _late(second):
                if _frozen(evidence.injuries, name, second.at) or _replaced(looks, second):
                    continue
                detail = f"process {second.pid} did not answer within {LIMIT_SECONDS:g} s, at {second.at:.1f}, twice"
                yield Violation(13, name, detail)
                break


def _late(look: Look) -> bool:
    return look.found == "silent" and look.seconds >= LIMIT_SECONDS and look.control < CALM_SECONDS


def _frozen(injuries: Sequence[Injury], name: str, at: float) -> bool:
    """Whether it, or everything, was made to stand still then."""
    return any(
        injury.kind in STANDING_STILL
        and injury.victim in {name, "forkserver", "supervisor"}
        and injury.began - AFTERWARDS <= at <= injury.ended + AFTERWARDS
        for injury in injuries
    )


def _replaced(looks: Sequence[Look], silent: Look) -> bool:
    """Whether another process had its name soon: this one had ended."""
    return any(look.pid != silent.pid and 0 < look.at - silent.at < WATCHDOG_SECONDS for look in looks)
