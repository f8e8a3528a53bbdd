"""The prototype's engine: alerts become executions, results advance them; every batch in one statement."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from bench.limits.pipeline.events import STEPS, decode, encode, event, fresh_id
from bench.limits.pipeline.links import JOBS, Puller, bus, database, publish_many, redis

DURABLE: Final = "engine"
_NEW: Final = """
WITH i AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS t(mid, inc, exe)),
  s AS (INSERT INTO seen SELECT mid FROM i ON CONFLICT DO NOTHING RETURNING id),
  a AS (INSERT INTO incident(id, state) SELECT i.inc, 'open' FROM i JOIN s ON s.id = i.mid RETURNING id),
  b AS (INSERT INTO execution(id, incident_id, step, total, state)
        SELECT i.exe, i.inc, 0, $6, 'running' FROM i JOIN s ON s.id = i.mid RETURNING id)
INSERT INTO outbox(exe, body)
SELECT o.exe, o.body FROM unnest($4::uuid[], $5::text[]) AS o(exe, body) JOIN b ON b.id = o.exe RETURNING id, exe
"""
_ADVANCE: Final = """
WITH i AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[]) AS t(mid, exe, step, body)),
  s AS (INSERT INTO seen SELECT mid FROM i ON CONFLICT DO NOTHING RETURNING id),
  u AS (UPDATE execution e SET step = e.step + 1,
          state = CASE WHEN e.step + 1 = e.total THEN 'succeeded' ELSE 'running' END
        FROM i JOIN s ON s.id = i.mid WHERE e.id = i.exe AND e.step = i.step RETURNING e.id, i.body)
INSERT INTO outbox(exe, body) SELECT id, body FROM u RETURNING id, exe
"""
_DISPATCHED: Final = b'"step.dispatched"'
_Events = list[tuple[str, bytes]]


async def run() -> None:
    """Work until ended."""
    client, stream = await bus()
    connection, clearing = await database(), await database()
    puller = Puller(client, DURABLE)
    await puller.start()
    new, advance = await connection.prepare(_NEW), await connection.prepare(_ADVANCE)
    clear = await clearing.prepare("DELETE FROM outbox WHERE id = ANY($1)")
    jobs_to = redis()
    committed: asyncio.Queue[tuple[list[int], _Events, list[bytes]]] = asyncio.Queue(8)

    async def relay() -> None:
        """Publish what is committed, dispatch its jobs, clear it: beside the next transaction."""
        while True:
            ids, events, jobs = await committed.get()
            publishing = asyncio.create_task(publish_many(client, stream, "ev.engine", events))
            if jobs:
                pipe = jobs_to.pipeline(transaction=False)
                for job in jobs:
                    pipe.xadd(JOBS, {"b": job}, maxlen=100000, approximate=True)
                await pipe.execute()
            await publishing
            await clear.fetch(ids)

    relaying = asyncio.create_task(relay())
    while True:
        if relaying.done():
            relaying.result()
        messages = await puller.next()
        batch = _Batch()
        for message in messages:
            batch.add(message.data)
        rows = await new.fetch(*batch.new_arguments()) if batch.new else []
        rows += await advance.fetch(*map(list, zip(*batch.results, strict=True))) if batch.results else []
        applied = {str(row["exe"]) for row in rows}
        await committed.put(([row["id"] for row in rows], *batch.effects(applied)))
        await puller.acknowledge(messages)


class _Batch:
    """One batch of events, sorted into what starts an execution and what advances one."""

    def __init__(self) -> None:
        self.new: list[tuple[str, str, str]] = []
        self.results: list[tuple[str, str, int, str]] = []
        self._events: dict[str, _Events] = {}

    def add(self, data: bytes) -> None:
        heard = decode(data)
        if heard.type == "alert.received":
            execution_id = fresh_id()
            told = [
                event("incident.opened", heard.incident_id, execution_id, 0, "incident"),
                event("step.dispatched", heard.incident_id, execution_id, 0, "execution"),
            ]
            self._events[execution_id] = [(each.event_id, encode(each)) for each in told]
            self.new.append((heard.event_id, heard.incident_id, execution_id))
            return
        number = heard.step_index + 1
        kind = "step.dispatched" if number < STEPS else "execution.succeeded"
        following = event(kind, heard.incident_id, heard.execution_id, number, "execution")
        body = encode(following)
        self._events[heard.execution_id] = [(following.event_id, body)]
        self.results.append((heard.event_id, heard.execution_id, heard.step_index, body.decode()))

    def new_arguments(self) -> list[Any]:
        outgoing = [(row[2], body.decode()) for row in self.new for _, body in self._events[row[2]]]
        columns: list[Any] = [list(column) for column in zip(*self.new, strict=True)]
        return [*columns, [exe for exe, _ in outgoing], [body for _, body in outgoing], STEPS]

    def effects(self, applied: set[str]) -> tuple[_Events, list[bytes]]:
        """What is published and which jobs go out, for the executions that the database has moved."""
        events = [each for execution_id in applied for each in self._events[execution_id]]
        last = [self._events[execution_id][-1][1] for execution_id in applied]
        return events, [body for body in last if _DISPATCHED in body]
