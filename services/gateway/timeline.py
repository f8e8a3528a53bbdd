"""The log: events by what they are about, and the raw leaves for who verifies them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints

from libs.common.errors import InvalidInput
from services.gateway import timeline_answers as answers
from services.gateway.asking import Ask, StrictRoute
from services.gateway.parameters import INDEX, Id, Index, Limit, Moment, Name, Parameters, Text, Types

router = APIRouter(prefix="/timeline", tags=["timeline"], route_class=StrictRoute)


class Entries(Parameters):
    """Which events: those that fit all that is given, in the log's order or against it, behind an index."""

    incident_id: Name | None = None
    execution_id: Name | None = None
    runbook_execution_id: Annotated[Name | None, Field(description="the same as `execution_id`")] = None
    runbook_id: Name | None = None
    actor: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    type: Types | None = None
    since: Annotated[Moment | None, Field(description="stored then or later")] = None
    until: Annotated[Moment | None, Field(description="stored before")] = None
    text: Annotated[
        str | None,
        Field(min_length=1, max_length=512, description="words of the payload, all of them; `resta*` for a beginning"),
    ] = None
    order: Annotated[Literal["oldest", "newest"] | None, Field(description="which come first (oldest)")] = None
    after: Index | None = None
    limit: Limit | None = None

    def given(self) -> dict[str, Any]:
        """The question, with one name for an execution."""
        question = super().given()
        named = question.pop("runbook_execution_id", None)
        if named is not None and question.setdefault("execution_id", named) != named:
            raise InvalidInput("`execution_id` and `runbook_execution_id` name two executions.")
        return question


class Leaves(Parameters):
    """From which index on."""

    first: Annotated[int, Field(ge=0, le=2**62)] | None = None
    limit: Limit | None = None


class Heads(Parameters):
    """After which chain head."""

    kind: Literal["execution", "incident", "runbook"] | None = None
    id: Text | None = None
    limit: Limit | None = None


class Checkpoint(Parameters):
    """Of which size; none is the newest, or the newest that a witness has signed."""

    size: Annotated[int, Field(ge=1, le=2**62)] | None = None
    witnessed: Annotated[bool | None, Field(description="the newest with a cosignature; not with `size`")] = None


class Cosigned(Parameters):
    """A checkpoint of this log as a witness gave it back: the note, with its signature lines."""

    checkpoint: Annotated[str, Field(min_length=1, max_length=100_000)]


class Consistency(Parameters):
    """Between which sizes; the newer one is the newest checkpoint's unless it is said."""

    old: Annotated[int, Field(ge=1, le=2**62)]
    new: Annotated[int, Field(ge=1, le=2**62)] | None = None


@router.get("", response_model=answers.Entries)
async def entries(ask: Ask, which: Annotated[Entries, Query()]) -> Response:
    """What happened, in the log's order: to an incident, in an execution, by somebody, then, about something."""
    return await ask("timeline", "list", which.given())


@router.get("/leaves")
async def leaves(ask: Ask, which: Annotated[Leaves, Query()]) -> Response:
    """The log as it is stored, a page at a time, for verification."""
    return await ask("timeline", "leaves", which.given())


@router.get("/leaves/{index}/payload")
async def payload(
    ask: Ask, index: Annotated[int, Path(ge=0, le=2**62)], offset: Annotated[int, Query(ge=0, le=2**30)] = 0
) -> Response:
    """A slice of a payload that is too long for a page of leaves."""
    return await ask("timeline", "payload", {"index": index, "offset": offset})


@router.get("/heads")
async def heads(ask: Ask, which: Annotated[Heads, Query()]) -> Response:
    """The newest leaf of each chain, a page at a time."""
    return await ask("timeline", "heads", which.given())


@router.get("/checkpoint")
async def checkpoint(ask: Ask, which: Annotated[Checkpoint, Query()]) -> Response:
    """The newest checkpoint, or the one of a size: the note that the log signed."""
    return await ask("timeline", "checkpoint", which.given())


@router.post("/cosignatures", response_model=answers.Cosigned)
async def cosign(ask: Ask, note: Cosigned) -> Response:
    """Hand in what witnesses have put beneath a checkpoint; it is given out with it from then on."""
    return await ask("timeline", "cosign", note.given())


@router.get("/consistency")
async def consistency(ask: Ask, which: Annotated[Consistency, Query()]) -> Response:
    """A proof that the log of one size begins with the log of another: `rr.consistency/1`."""
    return await ask("timeline", "consistency", which.given())


@router.get("/{entry}/proof")
async def proof(ask: Ask, entry: Id, which: Annotated[Checkpoint, Query()]) -> Response:
    """A proof that a leaf stands in the log, by its index or its event's id: `rr.proof/1`."""
    named = {"index": int(entry)} if INDEX.fullmatch(entry) else {"event_id": entry}
    return await ask("timeline", "proof", named | which.given())


@router.get("/state")
async def state(ask: Ask) -> Response:
    """Origin, size, root and position of the log."""
    return await ask("timeline", "state", {})
