"""`GET /timeline/export`: the log as lines of JSON, `rr.export/1`, sent as fast as they are taken.

One question to the log a part, the next one when the last is on its way: whoever reads slowly holds up nothing but
their own export. What is cut off has no closing line; `first` goes on behind what was read.
"""

import asyncio
from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from libs.common.errors import Denied, Unavailable
from services.gateway.asking import Ask, Asking, StrictRoute
from services.gateway.events import EventStream
from services.gateway.parameters import Moment, Parameters

JSON_LINES: Final = "application/x-ndjson"
SLOW_SECONDS: Final = 60.0
SECONDS: Final = 20.0
"""How long the log may take for a part."""
LOOKS: Final = 40
LOOK_SECONDS: Final = 0.25

router = APIRouter(prefix="/timeline", tags=["timeline"], route_class=StrictRoute)


class Export(Parameters):
    """From where to where: everything there is, unless it is said."""

    first: Annotated[int | None, Field(ge=0, le=2**62, description="the index to begin at")] = None
    since: Annotated[Moment | None, Field(description="begin with the first event stored then or later")] = None
    to: Annotated[
        int | None, Field(ge=1, le=2**62, description="end at the first checkpoint that covers so many leaves")
    ] = None
    whole: Annotated[
        bool | None, Field(description="false: as you view one tenant, although you may have all of the log")
    ] = None


@router.get(
    "/export",
    responses={200: {"description": "`rr.export/1`", "content": {JSON_LINES: {"schema": {"type": "string"}}}}},
    response_class=Response,
)
async def export(ask: Ask, which: Annotated[Export, Query()]) -> Response:
    """The log, for long keeping and to be verified elsewhere: what you may view, and of the rest hashes alone."""
    said = await ask.content("timeline", "export", which.given(), SECONDS)
    return JsonLines(_lines(ask, said), slow_seconds=SLOW_SECONDS)


class JsonLines(EventStream):
    """Lines of JSON instead of events."""

    media_type = JSON_LINES


async def _lines(ask: Asking, said: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    """The whole file.

    Raises:
        RangerError: it cannot go on; what was sent is good, and has no closing line.
    """
    yield str(said["head"]).encode()
    while True:
        async for part in _parts(ask, said):
            yield part
        behind = await _behind(ask, said)
        if behind is None:
            break
        said = behind
    yield str(said["closing"]).encode()


async def _parts(ask: Asking, said: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    place = {"first": said["first"], "offset": 0}
    while place["first"] < said["end"]:
        await _still_known(ask)
        question = place | {"end": said["end"], "whole": said["whole"]}
        found = await ask.content("timeline", "export_part", question, SECONDS)
        place = {"first": found["next"], "offset": found["offset"]}
        yield b64decode(found["part"])


async def _behind(ask: Asking, said: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What has to follow: the leaves that say why payloads are missing, where any were redacted; None: nothing."""
    if not said["whole"]:
        return None
    for _ in range(LOOKS):
        found = await ask.content("timeline", "export", {"first": said["end"]}, SECONDS)
        if found["explained"] <= said["end"]:
            return None
        if not found["whole"]:
            break
        if found["explained"] <= found["end"]:
            return found
        await asyncio.sleep(LOOK_SECONDS)  # the next checkpoint covers it
    raise Unavailable("The log has not signed what was redacted meanwhile.", fix="Run the export again.")


async def _still_known(ask: Asking) -> None:
    """Raise Denied once the credential would not be let in any more, or with other rights."""
    if not await ask.reception.door.current(ask.identity.proof):
        raise Denied("Your credential has changed or ended.", fix="Begin again with another one.")
