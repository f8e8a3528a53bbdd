"""Who begins, and who gives way: a pure judgement about everyone who has, or wants, a place under one key.

Places go by arrival: whoever came later never overtakes, not even where the first in the queue would need more room.
An execution that replaces others takes the place of whatever is queued before it, and of as many holders as it needs,
the oldest first; it begins when they are gone, for they may have to stop something that runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.runbook.limits import Policy

REPLACE: Final = "replace"


@dataclass(frozen=True, slots=True)
class Place:
    """An execution that holds a place, or waits for one. `ended`: it only has something left that still runs."""

    execution_id: str
    holds: bool
    limit: int
    policy: Policy
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Moves:
    """Who begins now, in order; and who is aborted, by which execution."""

    admit: tuple[str, ...] = ()
    abort: tuple[tuple[str, str], ...] = ()


def moves(places: Sequence[Place]) -> Moves:
    """What is to be done about these, which are in the order of their arrival."""
    holders = [place for place in places if place.holds]
    waiting = [place for place in places if not place.holds]
    newest = max((index for index, place in enumerate(waiting) if place.policy == REPLACE), default=None)
    abort: list[tuple[str, str]] = []
    if newest is not None:
        by = waiting[newest].execution_id
        abort += [(place.execution_id, by) for place in waiting[:newest]]
        waiting = waiting[newest:]
        abort += [(place.execution_id, by) for place in _in_the_way(holders, waiting[0].limit)]
    return Moves(_admitted(len(holders), waiting), tuple(abort))


def _in_the_way(holders: Sequence[Place], limit: int) -> Sequence[Place]:
    """The oldest holders that live, as many as still have to give way."""
    leaving = sum(place.ended for place in holders)
    needed = len(holders) - leaving - limit + 1
    return [place for place in holders if not place.ended][: max(0, needed)]


def _admitted(held: int, waiting: Sequence[Place]) -> tuple[str, ...]:
    admitted: list[str] = []
    for place in waiting:
        if held + len(admitted) >= place.limit:
            break
        admitted.append(place.execution_id)
    return tuple(admitted)
