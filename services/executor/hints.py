"""Hints in Redis: `{action_id}` on a stream, no more. Postgres has the truth; the sweeper sends what got lost.

A hint is acknowledged and deleted as soon as the claim has committed; entries of readers that died before their claim
are taken over and deleted by the sweeper, which hints again what is still ready.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from libs.common.telemetry import log
from services.executor.model import Hint

URGENT: Final = "rr:steps:default:high"
STREAMS: Final = (URGENT, "rr:steps:default:normal")
GROUP: Final = "workers"
DATA_KEY: Final = "__data__"
KEPT: Final = 100_000
_PENDING: ContextVar[list[Hint] | None] = ContextVar("hints_pending", default=None)


class Hints:
    """Sends hints. Sending never fails its caller: what Redis does not take, the sweeper sends again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def send(self, hints: Sequence[Hint]) -> None:
        """Add `hints` in one pipeline."""
        if not hints:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for hint in hints:
                    data = orjson.dumps({"action_id": hint.action_id, "traceparent": hint.traceparent})
                    pipe.xadd(hint.stream, {DATA_KEY: data}, maxlen=KEPT, approximate=True)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("hints_lost", count=len(hints), error=f"{type(error).__name__}: {error}")
        _heed_cancellation()

    def later(self, hints: Sequence[Hint]) -> None:
        """Send `hints` when `flush` is called in this task: after the commit."""
        waiting = _PENDING.get()
        if waiting is None:
            waiting = []
            _PENDING.set(waiting)
        waiting.extend(hints)

    async def flush(self) -> None:
        """Send what this task has put aside."""
        waiting = _PENDING.get()
        _PENDING.set(None)
        await self.send(waiting or [])

    async def done(self, stream: str, entries: Sequence[bytes]) -> None:
        """Acknowledge and delete entries: from now on the lease in Postgres is what counts."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xack(stream, GROUP, *entries)
                pipe.xdel(stream, *entries)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("hints_unacknowledged", count=len(entries), error=type(error).__name__)
        _heed_cancellation()

    async def ensure_groups(self) -> None:
        """Make the groups where they are missing (Redis was flushed): from the beginning of the stream.

        Raises:
            RedisError, OSError: Redis does not answer.
        """
        for stream in STREAMS:
            try:
                await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        _heed_cancellation()

    async def take_over(self, *, idle_seconds: float) -> int:
        """Acknowledge and delete entries whose reader has not done so in time; returns how many there were.

        Where a group is missing, the groups are made: nobody has read anything of theirs.

        Raises:
            RedisError, OSError: Redis does not answer.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            for stream in STREAMS:
                pipe.xautoclaim(
                    stream, GROUP, "sweeper", min_idle_time=int(idle_seconds * 1000), start_id="0-0", count=500,
                    justid=True,
                )  # fmt: skip
            answers = await pipe.execute(raise_on_error=False)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        if refused:
            if not all("NOGROUP" in str(error) for error in refused):
                raise refused[0]
            await self.ensure_groups()
        found = {stream: list(a) for stream, a in zip(STREAMS, answers, strict=True) if not isinstance(a, Exception)}
        for stream, entries in found.items():
            if entries:
                await self.done(stream, entries)
        _heed_cancellation()
        return sum(map(len, found.values()))

    async def ping(self) -> None:
        """One round trip.

        Raises:
            RedisError, OSError: Redis does not answer.
        """
        await self._redis.ping()


def _heed_cancellation() -> None:
    """Raise the cancellation that the client kept to itself.

    It waits with `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes at the same moment as
    what it waits for; a part of the process that is never told to end keeps the process from ending.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def connect(url: str, *, name: str) -> Redis:
    """A client that gives up on one call after five seconds and connects again at the next."""
    return Redis.from_url(
        url,
        client_name=name,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=15,
        retry_on_timeout=False,
    )
