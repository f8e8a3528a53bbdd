"""Redactions: the timeline judges and carries out, and the log is told who wanted it, and why.

What is asked for is written down first, and taken out with the transaction that tells of it. So the fact, and with it
the rationale, survives a gateway that dies in between: `Recovery` asks the timeline what became of it. The row has what
the answer lacks; a request that was refused leaves none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self, cast

import orjson

from libs.common import rounds
from libs.common.clock import utc_now
from libs.common.contracts.access import EventRedacted
from libs.common.contracts.marking import Marking
from libs.common.crash import crash_point
from libs.common.database import Database, Uuid
from libs.common.errors import NotFound, RangerError
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from libs.common.policy.model import Method
from libs.common.rpc import RpcClient
from libs.common.telemetry import log
from services.gateway.evidence.desk import SERVICE
from services.gateway.identity import Identity

AT_ONCE: Final = 50
FORGOTTEN_SECONDS: Final = 600
"""A request that the timeline does not know by then was never taken up: no queue holds one for so long."""
_NOTE: Final = """
INSERT INTO redaction_asked (asking_id, tenant_id, request_key, actor, method, question)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_DROP: Final = "DELETE FROM redaction_asked WHERE asking_id = $1"
_TELL: Final = """
DELETE FROM redaction_asked WHERE (tenant_id, request_key, actor, question) = ($1, $2, $3, $4)
RETURNING asking_id
"""
_LEFT: Final = """
SELECT asking_id, tenant_id, request_key, actor, method, question,
  asked_at < clock_timestamp() - make_interval(secs => $2) AS old
FROM redaction_asked WHERE asked_at < clock_timestamp() - make_interval(secs => $1) ORDER BY asked_at LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a redaction: by whom, proven how, under which key, and what the timeline is asked.

    The question has the rationale. A request that is repeated is another one with the same content.
    """

    asking_id: str
    tenant: str
    request_key: str
    actor: str
    method: Method
    question: Mapping[str, Any]

    @classmethod
    def of(cls, identity: Identity, question: Mapping[str, Any]) -> Self:
        """The request that is being answered."""
        principal = identity.principal
        return cls(new_id(), identity.tenant, identity.request_key, principal.actor, principal.method, question)

    @property
    def raw(self) -> bytes:
        """The question, as it is written down."""
        return orjson.dumps(dict(self.question))


class RedactionDesk:
    """Tells the log."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._outbox = Outbox(SERVICE, database.schema)
        self._clock = clock

    async def note(self, asked: Asked) -> None:
        """Write down what is about to be asked of the timeline."""
        values = (Uuid(asked.asking_id), asked.tenant, asked.request_key, asked.actor, asked.method, asked.raw)
        await self._database.pool.execute(_NOTE, *values)

    async def drop(self, asked: Asked) -> None:
        """Nothing came of it."""
        await self._database.pool.execute(_DROP, Uuid(asked.asking_id))

    async def left(self, seconds: float) -> list[tuple[Asked, bool]]:
        """What nobody has told for so many seconds, the oldest first, and whether the timeline must know it by now."""
        rows = await self._database.pool.fetch(_LEFT, seconds, float(FORGOTTEN_SECONDS), AT_ONCE)
        return [
            (
                Asked(
                    str(row["asking_id"]),
                    row["tenant_id"],
                    row["request_key"],
                    row["actor"],
                    cast("Method", row["method"]),
                    orjson.loads(row["question"]),
                ),
                row["old"],
            )
            for row in rows
        ]

    async def tell(self, asked: Asked, done: Mapping[str, Any]) -> None:
        """Told once for a request that asked for it first, however often it was repeated and whoever tells it.

        The row of each is taken out with the fact, and whose own is gone tells nothing.
        """
        crash_point("gateway_redaction_untold")
        redaction = new_id()
        fact = EventRedacted(
            redaction_id=redaction,
            index=done["index"],
            event_id=done["event_id"],
            actor=asked.actor,
            rationale=asked.question["rationale"],
            method=asked.method,
            decision_id=done["decision_id"],
            policy_revision=done["policy_revision"],
        )
        cause = Cause(
            tenant=asked.tenant,
            actor=asked.actor,
            correlation=asked.request_key,
            incident_id=done["incident_id"] or "",
            execution_id=done["execution_id"] or "",
            marking=Marking(done["environment"], done["clearance"]),
        )
        event = self._outbox.event(fact, aggregate_id=redaction, aggregate_version=1, cause=cause, now=self._clock())
        async with self._database.transaction("redact_event") as tx:
            rows = await tx.fetch(_TELL, asked.tenant, asked.request_key, asked.actor, asked.raw)
            if asked.asking_id in {str(row["asking_id"]) for row in rows}:
                await self._outbox.add(tx, [event])


class Recovery:
    """Finishes what a gateway that died, or had no answer, left: a part of each process. That several do harms nothing.

    It asks the timeline for its answer, and never for the redaction: what was not carried out is not carried out later.
    """

    def __init__(self, desk: RedactionDesk, client: RpcClient, *, seconds: float) -> None:
        self._desk = desk
        self._client = client
        self._seconds = seconds

    async def run(self) -> None:
        """Look for what was left, every so often, until cancelled."""
        await rounds.every(self._seconds, "redactions", self.once)

    async def once(self) -> None:
        """Finish what was left for longer than a request may take."""
        for asked, old in await self._desk.left(self._seconds):
            try:
                done = await self._answer(asked)
            except NotFound:
                if old:
                    await self._desk.drop(asked)
                continue
            except RangerError as error:
                log.warning("redactions_wait", error=error.detail)
                return
            if not done["new"]:
                await self._desk.drop(asked)
                continue
            await self._desk.tell(asked, done)
            log.warning("redaction_told_late", tenant=asked.tenant, index=done["index"])

    async def _answer(self, asked: Asked) -> dict[str, Any]:
        """What the timeline answered, or would have. Raises NotFound where it was never asked, or refused."""
        principal = Principal(asked.actor, frozenset({asked.tenant}), frozenset(), method=asked.method)
        question = {"request_key": asked.request_key, "asked": asked.question}
        return await self._client.ask("timeline", "redaction", question, principal=principal, tenant=asked.tenant)
