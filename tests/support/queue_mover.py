"""One executor's queue, reduced to a single round: `python -m tests.support.queue_mover`, with the executor's settings.

Prints how many executions it moved; with `RR_CRASH_AT` it ends in the middle of it.
"""

from __future__ import annotations

import asyncio
import os
import sys

from libs.common.clock import utc_now
from libs.common.database import Database
from libs.common.outbox import Outbox
from services.executor.guards.queue import Queue
from services.executor.hints import Hints, connect
from services.executor.model import SERVICE
from services.executor.settings import ExecutorSettings


async def move() -> int:
    """One round over all queues."""
    database = Database(os.environ["RR_POSTGRES_URL"], schema=SERVICE, instance="mover", pool_size=2)
    await database.open()
    redis = connect(os.environ["RR_REDIS_URL"], name="mover")
    hints = Hints(redis)
    found = await Queue(database, Outbox(SERVICE, SERVICE), hints, ExecutorSettings(), clock=utc_now).move_on()
    await redis.aclose()
    await database.close()
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(move())}\n")
