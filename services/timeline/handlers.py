"""Answers to questions about the log. Everything is read; no verb changes it.

`list` and `provenance` show one tenant its own events. `leaves`, `payload` and `heads` are the log whole, across
tenants: who asks for them must be allowed to act for all of them.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from libs.common.database import Tx
from libs.common.errors import NotFound
from libs.common.policy import Resource, require, require_scope
from libs.common.rpc import Answer, Caller, Question, RpcServer
from services.timeline import artefacts, pages, queries, storage
from services.timeline.notary import Notary
from services.timeline.whole import require_whole
from services.timeline.words import query
from services.timeline.writer import Writer

Id = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Index = Annotated[int, Field(ge=-1, le=2**62)]
Moment = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]


class ListEntries(Question):
    """Events that fit every condition that is given, behind an index; `pages.Wanted` says what each means."""

    incident_id: Id | None = None
    execution_id: Id | None = None
    runbook_id: Id | None = None
    actor: Id | None = None
    type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{0,128}\*?$", min_length=1)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    text: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    order: Literal["oldest", "newest"] = "oldest"
    after: Index | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100

    @model_validator(mode="after")
    def _some_time(self) -> "ListEntries":
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("`since` must be before `until`")
        return self

    @property
    def about(self) -> str:
        """The kind of thing that the question is about, as policy knows it."""
        return "incident" if self.incident_id else "execution" if self.execution_id else "timeline"


class Provenance(Question):
    """Where the chain of an incident, an execution or a runbook ends."""

    kind: Literal["execution", "incident", "runbook"]
    id: Id


class Artefacts(Question):
    """What events name in the object store, after an index: those of an incident, of an execution, or all."""

    incident_id: Id | None = None
    execution_id: Id | None = None
    after: Index = -1
    limit: Annotated[int, Field(ge=1, le=500)] = 100

    @model_validator(mode="after")
    def _at_most_one(self) -> "Artefacts":
        if self.incident_id is not None and self.execution_id is not None:
            raise ValueError("name incident_id or execution_id, or neither")
        return self


class Artefact(Question):
    """One artefact, by its SHA-256."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Leaves(Question):
    """The stored log from an index on."""

    first: Annotated[int, Field(ge=0, le=2**62)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 500


class PayloadSlice(Question):
    """A part of one event's payload, from a byte on."""

    index: Annotated[int, Field(ge=0, le=2**62)]
    offset: Annotated[int, Field(ge=0, le=2**30)] = 0


class Heads(Question):
    """Chain heads after one of them; the first page starts after ("", "")."""

    kind: Literal["", "execution", "incident", "runbook"] = ""
    id: Annotated[str, StringConstraints(max_length=512)] = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 500


class State(Question):
    """How far the log has come."""


class LogDesk:
    """The verbs of `rpc.timeline`."""

    def __init__(self, writer: Writer, notary: Notary) -> None:
        self._writer = writer
        self._notary = notary

    def register(self, server: RpcServer) -> None:
        """Add `list`, `provenance`, `artefacts`, `artefact`, `leaves`, `payload`, `heads` and `state`."""
        server.query("list", ListEntries, self.list_entries)
        server.query("provenance", Provenance, self.provenance)
        server.query("artefacts", Artefacts, self.artefacts)
        server.query("artefact", Artefact, self.artefact)
        server.query("leaves", Leaves, self.leaves)
        server.query("payload", PayloadSlice, self.payload)
        server.query("heads", Heads, self.heads)
        server.query("state", State, self.state)

    async def list_entries(self, tx: Tx, caller: Caller, question: ListEntries) -> Answer:
        """One page of events in the log's order; `next` is the index to go on after. The last page is empty."""
        scope = await require_scope(caller.principal, "timeline.view", question.about, caller.tenant)
        wanted = pages.Wanted(
            tenant=caller.tenant,
            scope=scope,
            words=None if question.text is None else query(question.text),
            newest=question.order == "newest",
            **question.model_dump(exclude={"text", "order"}),
        )
        found = await pages.entries(tx, wanted)
        return {"entries": found, "next": found[-1]["index"] if found else None}

    async def artefacts(self, tx: Tx, caller: Caller, question: Artefacts) -> Answer:
        """One page of what events name, in the log's order; `next` as in `list`."""
        kind = "incident" if question.incident_id else "execution" if question.execution_id else "timeline"
        found = await artefacts.page(
            tx,
            column=f"{kind}_id" if kind != "timeline" else "",
            about=question.incident_id or question.execution_id or "",
            tenant=caller.tenant,
            scope=await require_scope(caller.principal, "timeline.view", kind, caller.tenant),
            after=question.after,
            limit=question.limit,
        )
        return {"artefacts": found, "next": found[-1]["index"] if found else None}

    async def artefact(self, tx: Tx, caller: Caller, question: Artefact) -> Answer:
        """One artefact of the caller's tenant, with the newest event that names it and that the caller may view."""
        scope = await require_scope(caller.principal, "timeline.view", "timeline", caller.tenant)
        found = await artefacts.named(tx, question.sha256, tenant=caller.tenant, scope=scope)
        if found is None:
            raise NotFound(f"No event names the artefact {question.sha256}.", fix="GET /evidence lists an incident's.")
        return found

    async def provenance(self, tx: Tx, caller: Caller, question: Provenance) -> Answer:
        """The chain's newest leaf: its hash as `provenance_hash`, its number in the chain as `n`, its `index`."""
        kind = "timeline" if question.kind == "runbook" else question.kind
        scope = await require_scope(caller.principal, "timeline.view", kind, caller.tenant)
        found = await queries.provenance(
            tx, kind=question.kind, chain_id=question.id, tenant=caller.tenant, scope=scope
        )
        if found is None:
            raise NotFound(f"The log has nothing of this {question.kind} yet.", fix="Ask again in a moment.")
        return found

    async def leaves(self, tx: Tx, caller: Caller, question: Leaves) -> Answer:
        """One page of the log as it is stored; `next` is where the following page starts. The last page is empty."""
        await require_whole(caller)
        found = await queries.leaves(tx, first=question.first, limit=question.limit)
        return {"leaves": found, "next": found[-1]["index"] + 1 if found else None}

    async def payload(self, tx: Tx, caller: Caller, question: PayloadSlice) -> Answer:
        """A slice of a payload that did not fit into its page."""
        await require_whole(caller)
        found = await queries.payload_slice(tx, index=question.index, offset=question.offset)
        if found is None:
            raise NotFound(f"Leaf {question.index} has no payload.")
        return found

    async def heads(self, tx: Tx, caller: Caller, question: Heads) -> Answer:
        """One page of chain heads, in the order of kind and id; the last page is empty."""
        await require_whole(caller)
        return {"heads": await queries.heads(tx, kind=question.kind, chain_id=question.id, limit=question.limit)}

    async def state(self, tx: Tx, caller: Caller, _question: State) -> Answer:
        """Origin, size, root and position of the log, and why it is frozen or not signed where this process knows."""
        await require(caller.principal, "timeline.view", Resource("timeline", "log", caller.tenant))
        state = await storage.read_state(tx)
        known: dict[str, Any] = {
            "log": None,
            "frozen": self._writer.frozen,
            "unsigned": self._notary.trouble,
        }
        if state is not None:
            known["log"] = {
                "origin": state.origin,
                "term": state.term,
                "size": state.tree.size,
                "root": state.tree.root().hex(),
                "stream": state.stream,
                "epoch": state.epoch,
                "seq": state.seq,
            }
        return known
