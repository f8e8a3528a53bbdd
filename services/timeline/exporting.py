"""Gives the log out as an export, `rr.export/1`: `export` says from where to where, `export_part` gives the lines.

An export ends where a checkpoint does, which its last line bears: so it proves that nothing is missing. Who may act for
all tenants gets all of it; everybody else what lists show them of one tenant, and of the rest hashes.
"""

from binascii import b2a_base64
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from libs.common.database import Tx
from libs.common.errors import Denied, InvalidInput, NotFound, Unavailable
from libs.common.policy import ALL, decide, require_scope
from libs.common.rpc import Answer, Caller, Question, RpcServer
from libs.common.sight import filters, seen
from libs.tlog.errors import TlogError
from libs.tlog.exportlines import closing, header
from services.timeline import checkpoints, copies
from services.timeline.checkpoints import Incomplete, Made
from services.timeline.copies import Missing, View
from services.timeline.frontiers import frontier
from services.timeline.handlers import Moment
from services.timeline.whole import LOG, require_whole

Place = Annotated[int, Field(ge=0, le=2**62)]
_COVERING: Final = "SELECT size, root, note, made_at FROM checkpoint WHERE size >= $1 ORDER BY size LIMIT 1"
_SINCE: Final = """
SELECT min(index) FROM entry_seen WHERE stored_at >= $1 AND ($2 = '*' OR tenant_id = $2)
"""
_EXPLAINED: Final = """
SELECT coalesce(max(index) + 1, 0) FROM control
WHERE body ->> 'type' = 'redaction' AND index IS NOT NULL AND (body ->> 'of')::bigint < $1
"""
_SINCE_SEEN: Final = f"{_SINCE} AND {seen('$3', '$4')}"


class Export(Question):
    """From an index or a moment on, to the newest checkpoint, or the first one that covers `to` leaves.

    `whole`: all of the log, if the caller may; False: as the caller views one tenant.
    """

    first: Place | None = None
    since: Moment | None = None
    to: Annotated[int, Field(ge=1, le=2**62)] | None = None
    whole: bool = True

    @model_validator(mode="after")
    def _one_beginning(self) -> "Export":
        if self.first is not None and self.since is not None:
            raise ValueError("name `first` or `since`")
        return self


class ExportPart(Question):
    """What follows of an export, from a byte of a leaf's line on."""

    first: Place
    offset: Place = 0
    end: Place
    whole: bool


class ExportDesk:
    """The verbs that export."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def register(self, server: RpcServer) -> None:
        """Add `export` and `export_part`."""
        server.query("export", Export, self.export)
        server.query("export_part", ExportPart, self.export_part)

    async def export(self, tx: Tx, caller: Caller, question: Export) -> Answer:
        """Where it begins and ends, whether it shows everything, and its first and last line.

        `explained` is the size at which the log has said of all events before `first` that were redacted that they
        were: a whole export that ends earlier lacks payloads, and does not say why.
        """
        whole = question.whole and await _may_see_all(caller)
        view = None if whole else await _view(caller)
        made = await _covering(tx, question.to)
        first = question.first or 0
        if question.since is not None:
            first = await _first_since(tx, question.since, made.size, view)
        if first > made.size:
            raise InvalidInput(
                f"Leaf {first} is behind the checkpoint of size {made.size}.", fix="The next one comes in a second."
            )
        try:
            tree = await frontier(tx, first)
        except (TlogError, Incomplete) as error:
            raise _broken(error) from None
        return {
            "first": first,
            "end": made.size,
            "whole": whole,
            "explained": await tx.fetchval(_EXPLAINED, first) if whole else 0,
            "head": header(self._origin, tree, whole=whole).decode(),
            "closing": closing(made.size, made.note).decode(),
        }

    async def export_part(self, tx: Tx, caller: Caller, question: ExportPart) -> Answer:
        """A part of the lines, in base64, and where the following one begins: at `end` there is none."""
        if question.whole and not await _may_see_all(caller):
            await require_whole(caller)
            raise Denied("What you may see has changed.", fix="Begin the export anew.", code="export_narrowed")
        view = None if question.whole else await _view(caller)
        try:
            found = await copies.part(tx, question.first, question.end, offset=question.offset, view=view)
        except Missing as error:
            raise _broken(error) from None
        return {"part": b2a_base64(found.data, newline=False).decode(), "next": found.next, "offset": found.offset}


async def _may_see_all(caller: Caller) -> bool:
    """Whether nothing is to be withheld: who sees some environments alone would be shown events without payloads."""
    if caller.principal.environments != ALL:
        return False
    return (await decide(caller.principal, "timeline.export", LOG)).allow


async def _view(caller: Caller) -> View:
    return View(caller.tenant, await require_scope(caller.principal, "timeline.view", "timeline", caller.tenant))


async def _covering(tx: Tx, size: int | None) -> Made:
    row = None if size is None else await tx.fetchrow(_COVERING, size)
    made = await checkpoints.newest(tx) if size is None else None if row is None else Made(*row)
    if made is None:
        which = "no checkpoint yet" if size is None else f"no checkpoint that covers {size} leaves"
        raise NotFound(f"The log has {which}.", fix="`GET /timeline/checkpoint` names the newest; docs/operators.md.")
    return made


async def _first_since(tx: Tx, since: datetime, end: int, view: View | None) -> int:
    """The first event that was stored then or later, of those that are shown; the end where there is none."""
    values: list[Any] = [since, "*" if view is None else view.tenant]
    if view is None:
        found: int | None = await tx.fetchval(_SINCE, *values)
    else:
        found = await tx.fetchval(_SINCE_SEEN, *values, *filters(view.scope))
    return end if found is None else min(found, end)


def _broken(error: Exception) -> Unavailable:
    return Unavailable(
        f"The log in the database does not hold together: {error}.",
        fix="The database is damaged or was changed; `python -m services.timeline.audit` says where.",
        code="log_broken",
    )
