"""Facts into an execution: lock its row, fold, and write frame, actions, timers, locks and outbox in one transaction.

Whoever learns a fact (a worker with a result, a timer, an alert, a person) comes through here. Executions are locked
first and in the order of their ids, then whatever hangs on them; so two that meet cannot wait for each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from libs.common.database import Tx
from libs.common.outbox import Outbox
from libs.runbook.facts import Fact, StepFailed, StepLost, StepStarted, StepSucceeded, StepUnknown
from libs.runbook.frame import StepRun
from services.executor import storage
from services.executor.changes import Because, Change, cause_of
from services.executor.folding import Folding, stream_of
from services.executor.guards import endings
from services.executor.model import Execution, Hint
from services.executor.storage import Writes

__all__ = ["Because", "Change", "cause_of", "changes_of", "fold", "is_blocked", "merged", "stream_of"]

RESULTS: Final = (StepSucceeded, StepFailed, StepLost, StepUnknown)


async def fold(tx: Tx, outbox: Outbox, changes: Iterable[Change], *, now: datetime) -> list[Hint]:
    """Fold and write; returns the actions that are ready, to be hinted after the commit."""
    writes, found = Writes(), list(changes)
    if not found:
        return []
    under_way = await storage.running(tx, [c.execution for c in found if c.execution.frame.children])
    kept = await storage.kept_rollbacks(tx, [c.execution for c in found])
    for change in found:
        change.facts = [*_begun(change, under_way), *change.facts]
        Folding(change, writes, outbox, now, kept).run()
    hints = await storage.write(tx, writes, outbox.writes(writes.events))
    await endings.note(tx, outbox, writes.ended, now=now)
    return hints


def _begun(change: Change, under_way: Mapping[str, Sequence[tuple[str, int]]]) -> list[Fact]:
    """What a worker carries out, or has carried out by now, is under way before anything of it is decided.

    It matters where steps go on side by side: one that fails stops the others, unless they have begun.
    """
    if not change.execution.frame.children:
        return []
    reported = [(fact.path, fact.visit) for fact in change.facts if isinstance(fact, RESULTS)]
    places = dict.fromkeys([*under_way.get(change.execution.execution_id, ()), *reported])
    return [StepStarted(path, visit) for path, visit in places]


def changes_of(
    executions: Mapping[str, Execution], facts: Mapping[str, Sequence[Fact]], because: Because
) -> list[Change]:
    """The same cause for several executions; those that no longer exist are left out."""
    return [Change(executions[key], list(items), because) for key, items in facts.items() if key in executions]


def is_blocked(run: StepRun) -> bool:
    """Whether a step run waits for something other than its worker, or a time."""
    return run.held or run.state == "unknown" or run.waits_for("approval") or run.waits_for("person")


def merged(changes: Sequence[Change]) -> list[Change]:
    """One change an execution: facts of the same execution are folded one after the other, not side by side."""
    found: dict[str, Change] = {}
    for change in changes:
        first = found.setdefault(change.execution.execution_id, Change(change.execution, [], change.because))
        first.facts = [*first.facts, *change.facts]
        first.attempts = {**first.attempts, **change.attempts}
        first.refs = {**first.refs, **change.refs}
    return list(found.values())
