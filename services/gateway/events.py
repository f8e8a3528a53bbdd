"""`GET /events`: server-sent events that say what happened to what; whoever draws it fetches the rest.

Ids are `<epoch>-<sequence>` of the stream EVENTS, so that one that was kept while the bus was made anew is noticed.
A client that comes back with `Last-Event-ID` gets everything after it once, in order, or `event: reset` when that
cannot be had any more: it then fetches what it shows anew and goes on from there.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from starlette.types import Receive, Scope, Send

from libs.common.errors import Unavailable
from libs.common.telemetry import log
from services.gateway.asking import Ask, Asking, StrictRoute
from services.gateway.feed import POSITION, Chosen, Feed, Position
from services.gateway.parameters import Name, Parameters, Types
from services.gateway.tail import Tail

EVENT_STREAM: Final = "text/event-stream"
SLOW_SECONDS: Final = 20.0
CANCEL_SECONDS: Final = 0.2
CHECK_SECONDS: Final = 1.0
UNTOLD: Final = 15
OVER: Final = b": your credential has changed or ended\n\n"
_DESCRIPTION: Final = (
    "`id: <epoch>-<seq>`, `data: {seq, type, time, incident_id, execution_id, runbook_id, actor}`; `event: live` once"
    " what was missed has been sent; `event: reset` when it cannot be sent any more"
)

router = APIRouter(tags=["events"], route_class=StrictRoute)


class From(Parameters):
    """After which event; `Last-Event-ID`, which browsers send when they come back, goes before it. And which events."""

    after: Annotated[
        str | None, Field(pattern=f"^{POSITION}$", description="an id, or a bare sequence of the current epoch")
    ] = None
    type: Types | None = None
    incident_id: Annotated[Name | None, Field(description="only what happens to this incident")] = None


async def _tail(request: Request) -> Tail:
    return cast("Tail", request.app.state.tail)


@router.get(
    "/events",
    responses={
        200: {
            "description": _DESCRIPTION,
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        }
    },
    response_class=Response,
)
async def events(
    request: Request, ask: Ask, tail: Annotated[Tail, Depends(_tail)], start: Annotated[From, Query()]
) -> Response:
    """Follow what happens in the caller's tenant, as far as the caller may see it.

    A comment each 20 s shows that the line is alive and carries the position on. A client that is too slow is told so
    in a comment and cut; it may come back with the last id it has.
    """
    after = request.headers.get("last-event-id") or start.after
    position = None if after is None else Position.parse(after)
    if tail.closing or tail.full:
        raise Unavailable("No more can follow the events here.", fix="Try again later, or at another gateway.")
    lines = Feed(tail, ask.identity, Chosen(start.type, start.incident_id)).lines(position)
    return EventStream(lines, slow_seconds=SLOW_SECONDS, over=lambda: _over(ask))


async def _over(ask: Asking) -> None:
    """Return when the credential would not be let in any more, or with other rights: what it was let in for ends.

    Also when that cannot be told for too long.
    """
    proof, door = ask.identity.proof, ask.reception.door
    untold = 0
    while untold < UNTOLD:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            if not await door.current(proof):
                return
            untold = 0
        except Unavailable:
            untold += 1


class EventStream(Response):
    """A response that ends when its chunks end, when the client leaves, or when it takes nothing for too long.

    And when `over` returns: whoever asked may not ask any more.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        slow_seconds: float,
        over: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks
        self._slow = slow_seconds
        self._over = over

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send until one of the two ends it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        parts = {asyncio.create_task(self._pump(send)), asyncio.create_task(_left(receive))}
        over = asyncio.create_task(self._over()) if self._over is not None else None
        if over is not None:
            parts.add(over)
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(parts)
        for part in done:
            part.result()
        if done == {over}:
            log.info("event_client_over")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._slow):
                    await send({"type": "http.response.body", "body": OVER, "more_body": False})

    async def _pump(self, send: Send) -> None:
        async with contextlib.aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                try:
                    async with asyncio.timeout(self._slow):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except TimeoutError:  # its socket is full: nothing can be said to it, and its connection is closed
                    log.info("event_client_cut")
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _end(parts: "set[asyncio.Task[None]]") -> None:
    """Cancel until all have ended: before Python 3.12 a library's `wait_for` may lose a cancellation."""
    while pending := {part for part in parts if not part.done()}:
        for part in pending:
            part.cancel()
        await asyncio.wait(pending, timeout=CANCEL_SECONDS)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
