"""What the end of an execution brings, in the transaction that ends it: the queue is woken, and a breaker may open."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs.common.database import Tx
from libs.common.outbox import Outbox
from services.executor.guards import breaker
from services.executor.model import Execution

CHANNEL: Final = "executor_queue"
WAKE: Final = f"SELECT pg_notify('{CHANNEL}', '')"


async def note(tx: Tx, outbox: Outbox, ended: Sequence[Execution], *, now: datetime) -> None:
    """Take note of executions that have ended, or of which something that still ran has ended now.

    Costs nothing where no runbook has such a guard. What is missed (a notification is lost with its connection) is
    found by the queue's next round, and a breaker is judged again at each claim.
    """
    if any(execution.spec.concurrency is not None for execution in ended):
        await tx.execute(WAKE)
    guarded = [execution for execution in ended if execution.spec.breaker is not None]
    if guarded:
        await breaker.judge(tx, outbox, guarded, now=now)
