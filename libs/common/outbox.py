"""The outbox: facts are rows of the transaction that made them true; one relay a schema publishes them in order.

What survives: once a transaction has committed, its facts reach the stream, whatever dies; a fact may be published
again after a crash, with the same id and the same bytes, and both the stream's window and the inbox drop it. A row
goes when the timeline has chained its stream sequence, so every fact is always in an outbox or in the log.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg
import orjson
from nats.aio.msg import Msg

from libs.common import metrics, telemetry
from libs.common.bus import WINDOW, Bus, Outgoing, PublishRefused, Stored
from libs.common.clock import rfc3339
from libs.common.contracts.choreography import EVENTS, check_publisher
from libs.common.contracts.envelope import Envelope, Ref
from libs.common.contracts.fact import Fact
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.ids import new_id
from libs.common.streams import Epochs
from libs.common.telemetry import log

POSITION_SUBJECT: Final = "timeline.position"
"""Core NATS note {"stream", "epoch", "seq"}: how far the log has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What a fact comes from: who acts for which tenant, and the conversation and message that led here."""

    tenant: str
    actor: str
    correlation: str
    causation: str = ""
    incident_id: str = ""
    execution_id: str = ""
    runbook_id: str = ""
    traceparent: str = ""

    @classmethod
    def of(cls, envelope: Envelope, *, actor: str) -> "Cause":
        """The cause that a received fact is; `actor` is who acts on it now."""
        return cls(
            tenant=envelope.tenant,
            actor=actor,
            correlation=envelope.correlation,
            causation=envelope.id,
            incident_id=envelope.incident_id,
            execution_id=envelope.execution_id,
            runbook_id=envelope.runbook_id,
            traceparent=envelope.traceparent,
        )

    def about(self, *, incident_id: str = "", execution_id: str = "", runbook_id: str = "") -> "Cause":
        """The same cause, naming what the facts are about; empty arguments leave a name as it is."""
        return replace(
            self,
            incident_id=incident_id or self.incident_id,
            execution_id=execution_id or self.execution_id,
            runbook_id=runbook_id or self.runbook_id,
        )


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """A fact on its way: the envelope and the payload's bytes, both final."""

    envelope: Envelope
    payload: bytes


class Outbox:
    """Where one service writes its facts."""

    def __init__(self, service: str, schema: str) -> None:
        self.service = service
        self._channel = channel(schema)

    def event(
        self,
        fact: Fact,
        *,
        aggregate_id: str,
        aggregate_version: int,
        cause: Cause,
        now: datetime,
        refs: Sequence[Ref] = (),
        event_id: str = "",
    ) -> OutboxEvent:
        """`fact` as version `aggregate_version` of its aggregate. Its trace is the cause's, or the current span's.

        Raises:
            UnlistedFact: the choreography does not give this fact to this service.
        """
        check_publisher(self.service, [fact.subject])
        return OutboxEvent(
            Envelope(
                id=event_id or new_id(),
                type=fact.subject,
                source=f"/svc/{self.service}",
                time=rfc3339(now),
                aggregate_type=fact.aggregate,
                aggregate_id=aggregate_id,
                aggregate_version=aggregate_version,
                tenant=cause.tenant,
                actor=cause.actor,
                correlation=cause.correlation,
                causation=cause.causation,
                incident_id=cause.incident_id,
                execution_id=cause.execution_id,
                runbook_id=cause.runbook_id,
                schema=fact.schema_name(),
                refs=tuple(refs),
                traceparent=cause.traceparent or telemetry.traceparent(),
            ),
            fact.encode(),
        )

    async def add(self, tx: Tx, events: Sequence[OutboxEvent]) -> None:
        """Write `events` in order and wake the relay: one statement, one notification, both at the commit."""
        if not events:
            return
        rows = [
            (
                uuid.UUID(e.envelope.id),
                e.envelope.aggregate_type,
                e.envelope.aggregate_id,
                e.envelope.aggregate_version,
                e.envelope.type,
                e.payload,
                e.envelope.salt,
                orjson.dumps(e.envelope.to_headers()).decode(),
            )
            for e in events
        ]
        await tx.fetchval(_INSERT, *map(list, zip(*rows, strict=True)), self._channel)


def channel(schema: str) -> str:
    """The NOTIFY channel that wakes a schema's relay."""
    return f"outbox_{schema}"


_INSERT: Final = """
WITH added AS (
  INSERT INTO outbox (event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers)
  SELECT event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers::jsonb
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::bytea[], $8::text[])
    WITH ORDINALITY AS t(event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers, n)
  ORDER BY n
  RETURNING 1)
SELECT pg_notify($9, '') FROM (SELECT count(*) FROM added) AS counted
"""

_TAKE: Final = """
SELECT id, aggregate_id, subject, payload, headers FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1
"""

_MARK: Final = """
UPDATE outbox SET published_at = clock_timestamp(), epoch = t.epoch, stream_seq = t.seq, attempts = attempts + 1
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t(id, epoch, seq) WHERE outbox.id = t.id
"""

_FAIL: Final = """
UPDATE outbox SET attempts = attempts + 1, last_error = $2 WHERE id = ANY($1::bigint[])
"""


class Relay:
    """Publishes a schema's outbox, each aggregate in id order. Several processes may run one; a lock lets one work."""

    def __init__(self, database: Database, bus: Bus, epochs: Epochs, *, poll_seconds: float) -> None:
        self._database = database
        self._bus = bus
        self._epochs = epochs
        self._poll = poll_seconds
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Publish until cancelled; server outages delay it and nothing else."""
        await self._bus.nc.subscribe(POSITION_SUBJECT, cb=self._on_position)
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self._database, channel(self._database.schema), self._wake.set))
            group.create_task(self._publish_forever())

    async def _publish_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                while await self.publish_once() > WINDOW // 2:
                    pass
            except TRANSIENT as error:
                log.warning("relay_waits", schema=self._database.schema, error=f"{type(error).__name__}: {error}")
            with_timeout = asyncio.wait_for(self._wake.wait(), self._poll)
            try:
                await with_timeout
            except TimeoutError:
                continue

    async def publish_once(self) -> int:
        """Publish one window in one transaction; returns how many rows are done (0 when another relay has the lock)."""
        async with self._database.pool.acquire() as tx, tx.transaction():
            if not await tx.fetchval("SELECT pg_try_advisory_xact_lock(hashtext($1))", channel(self._database.schema)):
                return 0
            rows = await tx.fetch(_TAKE, WINDOW)
            metrics.OUTBOX_PENDING.set(len(rows))
            if not rows:
                return 0
            crash_point("relay_before_publish")
            outcomes = await self._publish(rows)
            crash_point("relay_after_publish")
            await self._note_refusal(tx, outcomes)
            return await self._mark(tx, {n: found for n, found in outcomes.items() if isinstance(found, Stored)})

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> dict[int, Stored | PublishRefused]:
        """What became of each row that was sent. No fact is sent before the one ahead of it in its aggregate is stored:
        a full stream may refuse a long message and take the short one behind it.
        """
        outcomes: dict[int, Stored | PublishRefused] = {}
        held: set[str] = set()
        for wave in _waves(rows):
            sent = [row for row in wave if row["aggregate_id"] not in held]
            answers = await self._bus.publish(
                [Outgoing(row["subject"], row["payload"], orjson.loads(row["headers"])) for row in sent]
            )
            outcomes |= {row["id"]: answer for row, answer in zip(sent, answers, strict=True)}
            held |= {row["aggregate_id"] for row in sent if not isinstance(outcomes[row["id"]], Stored)}
        return outcomes

    async def _note_refusal(self, tx: Tx, outcomes: Mapping[int, Stored | PublishRefused]) -> None:
        """The first of a window's refusals is kept with its row; the others have the same reason, or come again."""
        refused = [(number, found) for number, found in outcomes.items() if not isinstance(found, Stored)]
        if refused:
            number, error = refused[0]
            metrics.RELAY_ERRORS.inc(len(refused))
            log.warning("publish_refused", schema=self._database.schema, count=len(refused), error=str(error))
            await tx.execute(_FAIL, [number], str(error))

    async def _mark(self, tx: Tx, stored: Mapping[int, Stored]) -> int:
        """Mark what is stored; what is not is sent again.

        Copies of dead letters go at once: the timeline, which frees the rows of facts, does not chain them.
        """
        if stored:
            epochs = [await self._epochs.of(found.stream) for found in stored.values()]
            await tx.execute(_MARK, list(stored), epochs, [found.seq for found in stored.values()])
            aside = [number for number, found in stored.items() if found.stream != EVENTS]
            if aside:
                await tx.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", aside)
            metrics.PUBLISHED.inc(len(stored))
        return len(stored)

    async def _on_position(self, message: Msg) -> None:
        """The log has come so far: rows up to there are safe in it."""
        position = orjson.loads(message.data)
        try:
            await self._database.pool.execute(
                "DELETE FROM outbox WHERE published_at IS NOT NULL AND epoch = $1 AND stream_seq <= $2",
                position["epoch"],
                position["seq"],
            )
        except TRANSIENT as error:
            log.warning("outbox_kept", schema=self._database.schema, error=type(error).__name__)


def _waves(rows: Sequence[asyncpg.Record]) -> list[list[asyncpg.Record]]:
    """The first fact of each aggregate, then the second of each, and so on; ids ascend within a wave."""
    waves: list[list[asyncpg.Record]] = []
    depth: Counter[str] = Counter()
    for row in rows:
        place = depth[row["aggregate_id"]]
        depth[row["aggregate_id"]] += 1
        if place == len(waves):
            waves.append([])
        waves[place].append(row)
    return waves


async def listen(database: Database, name: str, wake: Callable[[], None]) -> None:
    """Call `wake` at each notification on channel `name`, over a connection that is opened again when it breaks."""
    while True:
        try:
            connection = await database.dedicated()
        except TRANSIENT:
            await asyncio.sleep(1)
            continue
        try:
            await _until_lost(connection, name, wake)
        except (asyncpg.PostgresError, *TRANSIENT) as error:
            log.warning("listen_broken", channel=name, error=type(error).__name__)
        finally:
            connection.terminate()


async def _until_lost(connection: "asyncpg.Connection[asyncpg.Record]", name: str, wake: Callable[[], None]) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    await connection.add_listener(name, lambda *_: wake())
    wake()
    await lost.wait()
