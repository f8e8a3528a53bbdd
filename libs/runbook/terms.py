"""What lint asks of the terms of an approval: that those named can meet them, and that nothing comes after the end."""

from collections.abc import Iterator, Sequence
from typing import Final

from libs.runbook import durations
from libs.runbook.elements import Level, Terms

NOT_PEOPLE: Final = frozenset({"system", "alerting"})
"""Roles of services and of senders of alerts: a decision is a person's, whatever else it takes."""


def faults(asked: Terms) -> Iterator[tuple[str, str]]:
    """Every fault, as (key, what to do). Who has a role or is in a group is not known here: policy says it."""
    yield from _never_met(asked)
    yield from _never_reached("remind_after", asked.remind_after or (), asked.expires)
    yield from _never_reached("escalation", [level.after for level in asked.escalation], asked.expires)
    yield from _levels(asked)


def _never_met(asked: Terms) -> Iterator[tuple[str, str]]:
    """Where nobody but services is named, the quorum is never reached."""
    if asked.approvers and not asked.groups and not asked.escalation and set(asked.approvers) <= NOT_PEOPLE:
        named = ", ".join(asked.approvers)
        yield "approvers", f"{named}: no person has these roles, so it can never be granted; name people's, or groups"


def _never_reached(key: str, times: Sequence[str], expires: str) -> Iterator[tuple[str, str]]:
    end = durations.milliseconds(expires)
    for index, after in enumerate(times):
        if durations.milliseconds(after) >= end:
            where = f"{key}.{index}.after" if key == "escalation" else f"{key}.{index}"
            yield where, f"{after} is not before it expires ({expires}), so it never comes; make it sooner"


def _levels(asked: Terms) -> Iterator[tuple[str, str]]:
    if asked.escalation and not asked.approvers and not asked.groups:
        yield "escalation", "adds to those who are named, and nobody is: name approvers or groups to begin with"
        return
    known, before = {*asked.approvers, *asked.groups}, -1
    for index, level in enumerate(asked.escalation):
        after = durations.milliseconds(level.after)
        if after <= before:
            yield f"escalation.{index}.after", f"{level.after} does not come after the level before it"
        if _names(level) <= known:
            yield f"escalation.{index}", "names nobody who may not decide already"
        known, before = known | _names(level), after


def _names(level: Level) -> set[str]:
    return {*level.approvers, *level.groups}
