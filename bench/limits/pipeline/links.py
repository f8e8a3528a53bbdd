"""How the prototype's processes reach the servers, publish and take what has arrived."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final, TypeAlias

import asyncpg
import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from redis.asyncio import Redis

STREAM: Final = "EV"
JOBS: Final = "rr:jobs"
GROUP: Final = "w"
PENDING: Final = 4000
BATCH: Final = int(os.environ.get("LIMIT_BATCH", "256"))
ATOMIC: Final = int(os.environ.get("LIMIT_ATOMIC", "0"))
COMMIT: Final = os.environ.get("LIMIT_COMMIT", "on")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_batches: Iterator[int] = count()


async def database(where: Mapping[str, str] = os.environ) -> Connection:
    """A connection to Postgres."""
    return await asyncpg.connect(where["LIMIT_PG"], server_settings={"synchronous_commit": COMMIT})


async def bus(where: Mapping[str, str] = os.environ) -> tuple[Client, JetStreamContext]:
    """A connection to NATS."""
    client = await nats.connect(where["LIMIT_NATS"])
    return client, client.jetstream(publish_async_max_pending=PENDING)


def redis() -> Redis:
    """A client of Valkey."""
    return Redis.from_url(os.environ["LIMIT_REDIS"])


class Puller:
    """Takes whatever has arrived as one batch: small when quiet, large when busy. Acknowledges the last one."""

    def __init__(self, client: Client, durable: str, *, ahead: int = 2048) -> None:
        self._client = client
        self._buffer: list[Msg] = []
        self._have = asyncio.Event()
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{durable}"
        self._credit, self._ask_for, self._ahead = 0, 256, ahead

    async def start(self) -> None:
        """Ask for the first messages."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(self._inbox, cb=self._arrived)
        await self._ask()

    async def next(self) -> list[Msg]:
        """What has arrived, at most a batch; waits for the first."""
        if not self._buffer:
            self._have.clear()
            await self._have.wait()
        out, self._buffer = self._buffer[:BATCH], self._buffer[BATCH:]
        self._credit -= len(out)
        await self._ask()
        return out

    async def acknowledge(self, messages: Sequence[Msg]) -> None:
        """All up to the last of these."""
        await self._client.publish(messages[-1].reply, b"+ACK")

    async def _ask(self) -> None:
        while self._credit <= self._ahead - self._ask_for:
            self._credit += self._ask_for
            await self._client.publish(self._subject, b'{"batch":%d}' % self._ask_for, reply=self._inbox)

    async def _arrived(self, message: Msg) -> None:
        if message.reply:
            self._buffer.append(message)
            self._have.set()
        else:
            self._credit = max(0, self._credit - self._ask_for)  # a request ended early


async def publish_many(
    client: Client, stream: JetStreamContext, subject: str, items: Sequence[tuple[str, bytes]]
) -> None:
    """Publish (id, bytes) pairs, acknowledged; with ATOMIC, groups of that size as one batch with one set of fsyncs."""
    if ATOMIC and len(items) >= ATOMIC and await _publish_batch(client, subject, items):
        return
    futures = [await stream.publish_async(subject, body, headers={"Nats-Msg-Id": id_}) for id_, body in items]
    await asyncio.gather(*futures)


async def _publish_batch(client: Client, subject: str, items: Sequence[tuple[str, bytes]]) -> bool:
    """Whether the batch was stored: one duplicate refuses it whole, and then each has to go alone."""
    batch = f"{os.getpid()}-{next(_batches)}"
    for number, (id_, body) in enumerate(items, 1):
        headers = {"Nats-Msg-Id": id_, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        if number < len(items):
            await client.publish(subject, body, headers=headers)
        else:
            headers["Nats-Batch-Commit"] = "1"
            answer = await client.request(subject, body, headers=headers, timeout=10)
            return "error" not in orjson.loads(answer.data)
    return False
