"""The catalog's verbs, and what it does when an incident is created."""

from collections.abc import Sequence

from msgspec.structs import replace

from libs.common.artefacts import leave
from libs.common.clock import Clock
from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.envelope import Ref
from libs.common.contracts.incident import IncidentCreated
from libs.common.contracts.runbook import RunbookMatched, RunbookPublished
from libs.common.database import Tx
from libs.common.ids import derived_id, new_id
from libs.common.outbox import Cause, Outbox, OutboxEvent
from libs.common.rpc import Answer, Caller, RpcServer
from services.catalog import usecases
from services.catalog.commands import (
    GetDraft,
    GetVersion,
    Lint,
    ListRunbooks,
    Publish,
    SaveDraft,
    described,
    drafted,
    listed,
)
from services.catalog.model import Header, Match
from services.catalog.provenance import provenance
from services.catalog.storage import PostgresCatalog, Shelf
from services.catalog.usecases import SYSTEM, Occasion


class CatalogDesk:
    """The verbs of `rpc.catalog`."""

    def __init__(self, outbox: Outbox, shelf: Shelf, clock: Clock) -> None:
        self._outbox = outbox
        self._shelf = shelf
        self._clock = clock

    def register(self, server: RpcServer) -> None:
        """Add `draft`, `publish`, `lint`, `get_version`, `get_draft` and `list`."""
        server.command("draft", SaveDraft, self.draft)
        server.command("publish", Publish, self.publish)
        server.query("lint", Lint, self.lint)
        server.query("get_version", GetVersion, self.get_version)
        server.query("get_draft", GetDraft, self.get_draft)
        server.query("list", ListRunbooks, self.list_runbooks)

    async def publish(self, tx: Tx, caller: Caller, command: Publish) -> Answer:
        """{…version, created}: `created` is False when this content was the latest version already."""
        now, catalog = self._clock(), self._catalog(tx)
        if command.runbook_id is not None:
            done = await usecases.publish_draft(catalog, caller, command.runbook_id, command.spec_hash, now=now)
        else:
            done = await usecases.publish(catalog, caller, command.source or "", now=now)
        if done.version is not None:
            spec = await leave(tx, caller.tenant, "spec", provenance(done.version, caller.principal, done.decision))
            await self._outbox.add(tx, [self._published(caller, done.header, spec)])
        return {**described(done.header), "created": done.created}

    async def draft(self, tx: Tx, caller: Caller, command: SaveDraft) -> Answer:
        """{…draft} as it is stored now; a refusal lists the text's problems."""
        return drafted(await usecases.save_draft(self._catalog(tx), caller, command.source, now=self._clock()))

    async def get_draft(self, tx: Tx, caller: Caller, question: GetDraft) -> Answer:
        """{…draft, source}."""
        found = await usecases.find_draft(self._catalog(tx), caller, question.runbook_id)
        return {**drafted(found.header), "source": found.source}

    async def lint(self, _tx: Tx, caller: Caller, question: Lint) -> Answer:
        """{runbook_id, name, spec_hash} of a text that could be published; a refusal lists its problems."""
        loaded = await usecases.checked(caller, question.source, "runbook.draft")
        return {"runbook_id": loaded.spec.id, "name": loaded.spec.name, "spec_hash": loaded.spec_hash}

    async def get_version(self, tx: Tx, caller: Caller, question: GetVersion) -> Answer:
        """{…version, spec} and, when asked for, the source."""
        found = await usecases.find(self._catalog(tx), caller, question.runbook_id, question.version)
        content = usecases.answer_of(found, include_source=question.include_source)
        return {**described(found.header), **content}

    async def list_runbooks(self, tx: Tx, caller: Caller, question: ListRunbooks) -> Answer:
        """{runbooks, next}: one page; `next` is the id to go on after, None on the last page."""
        found = await usecases.page(self._catalog(tx), caller, after=question.after, limit=question.limit)
        full = len(found) == question.limit
        return {"runbooks": [listed(item) for item in found], "next": found[-1].runbook_id if full else None}

    def _catalog(self, tx: Tx) -> PostgresCatalog:
        return PostgresCatalog(tx, self._shelf)

    def _published(self, caller: Caller, header: Header, spec: Ref) -> OutboxEvent:
        cause = Cause(
            tenant=caller.tenant,
            actor=caller.principal.actor,
            correlation=new_id(),
            runbook_id=header.runbook_id,
            traceparent=caller.traceparent,
        )
        fact = RunbookPublished(
            runbook_id=header.runbook_id,
            runbook_version=header.version,
            name=header.name,
            spec_hash=header.spec_hash,
            author=header.author,
            published_by=header.published_by,
        )
        aggregate = derived_id("runbook", header.tenant, header.runbook_id)
        return self._outbox.event(
            fact,
            aggregate_id=aggregate,
            aggregate_version=header.version,
            cause=cause,
            now=header.published_at,
            refs=[spec],
        )


class Matcher:
    """Applies `incident.created`: one match an incident, and its fact."""

    def __init__(self, outbox: Outbox, shelf: Shelf, clock: Clock) -> None:
        self._outbox = outbox
        self._shelf = shelf
        self._clock = clock

    async def handle(self, tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        """Match a batch; each new match's fact belongs to its incident's trace and conversation."""
        created = [(m, m.value.fact) for m in messages if isinstance(m.value.fact, IncidentCreated)]
        occasions = [Occasion(message.tenant, fact) for message, fact in created]
        matches = await usecases.match(PostgresCatalog(tx, self._shelf), occasions)
        new = [(message, fact) for message, fact in created if fact.incident_id in matches]
        await self._outbox.add(tx, [self._matched(m, fact, matches[fact.incident_id]) for m, fact in new])

    def _matched(self, message: Received[FactReceived], created: IncidentCreated, match: Match) -> OutboxEvent:
        span = handled_span(message, "catalog", **{"rr.incident_id": match.incident_id})
        cause = Cause.of(message.value.envelope, actor=SYSTEM.actor)
        cause = replace(cause.about(incident_id=match.incident_id, runbook_id=match.runbook_id), traceparent=span)
        fact = RunbookMatched(
            match_id=match.match_id,
            incident_id=match.incident_id,
            runbook_id=match.runbook_id,
            runbook_version=match.version,
            spec_hash=match.spec_hash,
            alert_name=created.alert_name,
            severity=created.severity,
            labels=created.labels,
            annotations=created.annotations,
        )
        return self._outbox.event(
            fact, aggregate_id=match.match_id, aggregate_version=1, cause=cause, now=self._clock()
        )
