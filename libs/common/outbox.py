"""The outbox: facts are rows of the transaction that made them true; a relay (`relay.py`) publishes them in order.

What survives: once a transaction has committed, its facts reach the stream, whatever dies; a fact may be published
again after a crash, with the same id and the same bytes, and both the stream's window and the inbox drop it. A row
goes when the timeline has chained its stream sequence, so every fact is always in an outbox or in the log.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import orjson
from msgspec import Struct
from msgspec.structs import replace

from libs.common import telemetry, together
from libs.common.clock import rfc3339
from libs.common.contracts.choreography import check_publisher
from libs.common.contracts.envelope import Envelope, Ref
from libs.common.contracts.fact import Fact
from libs.common.contracts.marking import UNMARKED, Marking
from libs.common.database import TRANSIENT, Database, Tx, Uuid
from libs.common.ids import new_id
from libs.common.telemetry import log
from libs.common.together import Write

POSITION_SUBJECT: Final = "timeline.position"
"""Core NATS note {"stream", "epoch", "seq"}: how far the log has come."""


class Cause(Struct, frozen=True, kw_only=True):
    """What a fact comes from: who acts for which tenant, and the conversation and message that led here.

    `marking` is that of the thing it is about, and passes on to what follows from it.
    """

    tenant: str
    actor: str
    correlation: str
    causation: str = ""
    incident_id: str = ""
    execution_id: str = ""
    runbook_id: str = ""
    traceparent: str = ""
    marking: Marking = UNMARKED

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
            marking=envelope.marking,
        )

    def about(self, *, incident_id: str = "", execution_id: str = "", runbook_id: str = "") -> "Cause":
        """The same cause, naming what the facts are about; empty arguments leave a name as it is."""
        return replace(
            self,
            incident_id=incident_id or self.incident_id,
            execution_id=execution_id or self.execution_id,
            runbook_id=runbook_id or self.runbook_id,
        )


class OutboxEvent(Struct, frozen=True):
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
                marking=cause.marking,
            ),
            fact.encode(),
        )

    async def add(self, tx: Tx, events: Sequence[OutboxEvent]) -> None:
        """Write `events` in order and wake the relay: one statement, one notification, both at the commit."""
        await together.write(tx, self.writes(events))

    def writes(self, events: Sequence[OutboxEvent]) -> list[Write]:
        """The same as a write, for whoever has others to send with it; none where nothing is told."""
        if not events:
            return []
        rows = [
            (
                Uuid(e.envelope.id),
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
        return [Write(_INSERT, list(map(list, zip(*rows, strict=True))), notify=self._channel)]


def channel(schema: str) -> str:
    """The NOTIFY channel that wakes a schema's relay."""
    return f"outbox_{schema}"


_INSERT: Final = """
INSERT INTO outbox (event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers)
SELECT event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers::jsonb
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::bytea[], $8::text[])
  WITH ORDINALITY AS t(event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers, n)
ORDER BY n
"""


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
