"""Durable timers: due by the database's clock, fired once, in one transaction with what they cause."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from libs.common import rounds
from libs.common.clock import Clock
from libs.common.crash import crash_point
from libs.common.database import Database, Tx, Uuid
from libs.common.outbox import Outbox
from libs.common.pulse import Pulse
from libs.runbook.facts import Fact, StepStarted, TimerFired
from services.executor import storage
from services.executor.fold import Change, fold
from services.executor.hints import Hints
from services.executor.model import Execution

GROUP: Final = 100

_DUE: Final = """
SELECT ref_id FROM timer WHERE state = 'set' AND due_at <= clock_timestamp() ORDER BY due_at LIMIT $1
"""
_FIRE: Final = """
UPDATE timer SET state = 'fired', fired_at = clock_timestamp()
WHERE ref_id = ANY($1::uuid[]) AND state = 'set' AND due_at <= clock_timestamp()
RETURNING kind, ref_id, ref_version, due_at
"""


class Timers:
    """Fires what is due. Several executors may; the execution's lock lets one of them."""

    def __init__(self, database: Database, outbox: Outbox, hints: Hints, pulse: Pulse, *, clock: Clock) -> None:
        self._database = database
        self._pulse = pulse
        self._outbox = outbox
        self._hints = hints
        self._clock = clock

    async def run(self) -> None:
        """Fire until cancelled; sleeps to the next due time, at most a second."""
        await rounds.whenever_due(self._database, self._pulse, self.fire_due)

    async def fire_due(self) -> int:
        """Fire one group; returns how many executions that concerned."""
        async with self._database.transaction("timers") as tx:
            due = {str(row["ref_id"]) for row in await tx.fetch(_DUE, GROUP)}
            executions = await storage.lock(tx, due) if due else {}
            fired = await tx.fetch(_FIRE, [Uuid(key) for key in executions])
            running = await _running(tx, executions)
            changes = [_change(e, fired, running) for e in executions.values()]
            hints = await fold(tx, self._outbox, [c for c in changes if c.facts], now=self._clock())
            if fired:
                crash_point("timer_before_commit")
        if fired:
            crash_point("timer_after_commit")
        await self._hints.send(hints)
        return len({row["ref_id"] for row in fired})


async def _running(tx: Tx, executions: dict[str, Execution]) -> list[asyncpg.Record]:
    """Steps under way: a claim does not write the frame, so whoever needs to know looks here."""
    return await tx.fetch(
        "SELECT execution_id, path, visit FROM action_log WHERE execution_id = ANY($1::uuid[]) AND state = 'running'",
        [Uuid(key) for key in executions],
    )


def _change(execution: Execution, fired: Sequence[Any], running: Sequence[Any]) -> Change:
    own = sorted((r for r in fired if str(r["ref_id"]) == execution.execution_id), key=lambda r: r["due_at"])
    facts: list[Fact] = []
    if own:
        facts += [
            StepStarted(r["path"], r["visit"]) for r in running if str(r["execution_id"]) == execution.execution_id
        ]
        facts += [TimerFired(r["kind"], r["ref_version"]) for r in own]
    return Change(execution, facts)
