"""`redact` of `rpc.timeline`: what an event said is deleted, and the log says so; that it was said stays proven.

The request is written down, once an event, and is carried out with the statement that appends its leaf (the trigger of
`control`): payload and salt, the words that find it, and which objects have to go. Those are what only redacted events
name, and the bundles that hold the payload; `Shredder` deletes them. Whatever dies in between, the rest follows.
"""

import asyncio
import contextlib
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, model_validator

from libs.common.artefacts import key_of
from libs.common.contracts.envelope import Ref
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.errors import Conflict, NotFound
from libs.common.objectstore import ObjectStore, StoreUnavailable
from libs.common.policy import Context, Resource, require, require_scope
from libs.common.rpc import Answer, Caller, Question, RpcServer, answered
from libs.common.sight import filters, seen
from libs.common.telemetry import log
from services.timeline import control, metrics
from services.timeline.writer import Writer

REDACTION: Final = "redaction"
AT_ONCE: Final = 50
LOOKS: Final = 30
LOOK_SECONDS: Final = 0.1
_EVENT: Final = f"""
SELECT index, event_id, type, incident_id, execution_id, environment, clearance FROM entry_seen
WHERE tenant_id = $1 AND {seen("$2", "$3")} AND {{which}} ORDER BY index LIMIT 1
"""
_HELD: Final = """
SELECT type FROM entry WHERE incident_id = $1 AND tenant_id = $2
AND type IN ('access.evidence_held', 'access.evidence_released') ORDER BY index DESC LIMIT 1
"""
_ASKED: Final = """
SELECT EXISTS (SELECT FROM control WHERE body ->> 'type' = 'redaction' AND body ->> 'of' = ANY($1::text[]))
"""
_TURN: Final = "SELECT pg_advisory_xact_lock(hashtext('timeline_redaction'))"
_BESIDE: Final = "SELECT pg_advisory_xact_lock_shared(hashtext('timeline_redaction'))"
_SETTLED: Final = """
SELECT NOT EXISTS (SELECT FROM control WHERE body ->> 'type' = 'redaction' AND index IS NULL)
  AND NOT EXISTS (SELECT FROM shredding WHERE asked_at <= clock_timestamp())
"""
_UNLESS: Final = """
INSERT INTO shredding (tenant_id, kind, sha256, asked_at)
SELECT $1, $2, $3, clock_timestamp() + make_interval(secs => $4)
WHERE NOT EXISTS (SELECT FROM control WHERE body ->> 'type' = 'bundle_sealed' AND body ->> 'sha256' = encode($3, 'hex'))
ON CONFLICT DO NOTHING
"""
_OVER: Final = """
SELECT s.tenant_id, s.kind, s.sha256, EXISTS (SELECT FROM artefact AS a
  WHERE (a.sha256, a.kind, a.tenant_id) = (s.sha256, s.kind, s.tenant_id) AND a.deleted_at IS NULL
  AND a.kind <> 'bundle') AS named
FROM shredding AS s WHERE asked_at <= clock_timestamp() ORDER BY asked_at LIMIT $1
"""
_ANY: Final = "EXISTS (SELECT FROM shredding WHERE asked_at <= clock_timestamp())"
_DONE: Final = "DELETE FROM shredding WHERE (tenant_id, kind, sha256) = ($1, $2, $3)"


class Redact(Question):
    """Which event, by its index or its id, and why. The rationale is for the fact; the log's leaf has none."""

    index: Annotated[int, Field(ge=0, le=2**62)] | None = None
    event_id: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    rationale: Annotated[str, StringConstraints(max_length=2000)] = ""

    @model_validator(mode="after")
    def _one(self) -> "Redact":
        if (self.index is None) == (self.event_id is None):
            raise ValueError("name index or event_id")
        return self


class Answered(Question):
    """A request of the caller's to redact: under which key, and what it said."""

    request_key: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    asked: Redact


class RedactionDesk:
    """The verbs."""

    def __init__(self, origin: str, database: Database) -> None:
        self._origin = origin
        self._database = database

    def register(self, server: RpcServer) -> None:
        """Add `redact`, which answers when it is done, or after three seconds, when it will be; and `redaction`."""
        server.command("redact", Redact, self.redact, after_commit=self._settled)
        server.query("redaction", Answered, self.answered)

    async def redact(self, tx: Tx, caller: Caller, question: Redact) -> Answer:
        """Write it down. `new` is false where that was done before, by whomever; then nothing else happens.

        Raises:
            NotFound: no event of the caller's tenant that they may view.
            Denied: they may not redact it.
            Conflict: its incident's evidence is held.
        """
        row = await self._event(tx, caller, question)
        kind = "incident" if row["incident_id"] else "execution" if row["execution_id"] else "timeline"
        about = Resource(
            kind,
            row["incident_id"] or row["execution_id"] or "log",
            caller.tenant,
            environment=row["environment"],
            clearance=row["clearance"],
        )
        said = Context(rationale_present=bool(question.rationale.strip()))
        decision = await require(caller.principal, "evidence.redact", about, said)
        if row["incident_id"] and await tx.fetchval(_HELD, row["incident_id"], caller.tenant) == "access.evidence_held":
            raise Conflict(
                "The evidence of this event's incident is held.",
                fix="`rangerctl audit release` lets it go; then redact.",
                code="evidence_held",
            )
        await tx.execute(_TURN)
        new = not await asked(tx, [row["index"]])
        if new:
            body = {"type": REDACTION, "of": str(row["index"]), "id": row["event_id"], "actor": caller.principal.actor}
            body |= {"decision": decision.decision_id, "policy": decision.revision}
            await control.ask(tx, self._origin, body)
        return {
            "index": row["index"],
            "event_id": row["event_id"],
            "type": row["type"],
            "incident_id": row["incident_id"],
            "execution_id": row["execution_id"],
            "environment": row["environment"],
            "clearance": row["clearance"],
            "decision_id": decision.decision_id,
            "policy_revision": decision.revision,
            "new": new,
        }

    async def answered(self, tx: Tx, caller: Caller, question: Answered) -> Answer:
        """What `redact` has answered to it, or would have; nothing is redacted by asking.

        Raises:
            NotFound: it was not carried out.
        """
        answer = await answered(tx, caller, "redact", question.request_key, question.asked)
        if answer is None:
            raise NotFound("No such redaction of yours was carried out under this key.")
        return answer

    async def _event(self, tx: Tx, caller: Caller, question: Redact) -> Any:
        scope = await require_scope(caller.principal, "timeline.view", "timeline", caller.tenant)
        which = "index = $4" if question.event_id is None else "event_id = $4"
        named = question.index if question.event_id is None else question.event_id
        row = await tx.fetchrow(_EVENT.format(which=which), caller.tenant, *filters(scope), named)
        if row is None:
            raise NotFound(f"The log has no event {named} that you may view.")
        return row

    async def _settled(self) -> None:
        """Wait until all that was asked for is done, for a while: a log that is frozen does it later."""
        with contextlib.suppress(*TRANSIENT):
            for _ in range(LOOKS):
                if await self._database.pool.fetchval(_SETTLED):
                    return
                await asyncio.sleep(LOOK_SECONDS)


async def asked(tx: Tx, indexes: list[int]) -> bool:
    """Whether the redaction of any of these events was asked for."""
    found: bool = await tx.fetchval(_ASKED, [str(index) for index in indexes])
    return found


async def beside(tx: Tx) -> None:
    """Let no redaction be asked for until this transaction ends: it is about to name what holds payloads."""
    await tx.execute(_BESIDE)


async def doom(database: Database, tenant: str, ref: Ref, *, seconds: float) -> None:
    """Have a bundle deleted in so many seconds, unless `spare` was said by then: what a crash would leave nameless.

    One that was sealed before stays, whatever becomes of the second of the same bytes.
    """
    await database.pool.execute(_UNLESS, tenant, ref.kind, bytes.fromhex(ref.sha256), seconds)


async def spare(tx: Tx, tenant: str, ref: Ref) -> None:
    """With this transaction the object stays."""
    await tx.execute(_DONE, tenant, ref.kind, bytes.fromhex(ref.sha256))


class Shredder:
    """Deletes from the store what redactions, and bundles that nobody finished, have written down.

    Runs in every process, works where the log is.
    """

    def __init__(self, database: Database, store: ObjectStore, writer: Writer, *, seconds: float) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._doomed = asyncio.Event()
        writer.looks.ask(_ANY, self._hear, within=seconds)

    async def run(self) -> None:
        """Delete what is to go, as soon as a look finds it, until cancelled."""
        while True:
            await self._doomed.wait()
            self._doomed.clear()
            try:
                await self._round()
            except TRANSIENT as error:
                log.warning("shredder_waits", error=f"{type(error).__name__}: {error}")

    def _hear(self, doomed: bool) -> None:
        if doomed:
            self._doomed.set()

    async def _round(self) -> None:
        if not self._writer.active:
            return
        try:
            while await self.sweep() == AT_ONCE:
                pass
        except StoreUnavailable as error:
            log.warning("shredder_waits", error=error.detail)

    async def sweep(self) -> int:
        """Delete a group; returns how many objects it looked at. What another event names by now stays.

        Raises:
            StoreUnavailable: the rest waits for the next round.
        """
        rows = await self._database.pool.fetch(_OVER, AT_ONCE)
        for row in rows:
            tenant, kind, sha256 = row["tenant_id"], row["kind"], row["sha256"].hex()
            if not row["named"]:
                await self._store.delete(key_of(tenant, kind, sha256))
                metrics.ARTEFACTS_REDACTED.labels(kind).inc()
                log.info("artefact_redacted", kind=kind, tenant=tenant, sha256=sha256)
                crash_point("timeline_object_shredded")
            await self._database.pool.execute(_DONE, tenant, kind, row["sha256"])
        return len(rows)
