"""Facts on the real EVENTS stream, and a client of the live stream that keeps the id it would come back with."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from libs.common.bus import Bus, Outgoing, Stored
from libs.common.contracts.envelope import Envelope
from libs.common.ids import new_id

INCIDENT = "0192f0c1-0000-7000-8000-00000000000a"


def fact(kind: str = "incident.status_changed", *, tenant: str = "default", **more: Any) -> Outgoing:
    """A fact as its service would publish it; the live stream never looks into the payload."""
    envelope = Envelope(
        id=new_id(),
        type=kind,
        source="/runbook-ranger/incident",
        time="2026-03-01T10:00:00.000000Z",
        aggregate_type="incident",
        aggregate_id=INCIDENT,
        aggregate_version=1,
        tenant=tenant,
        actor="olga",
        correlation=INCIDENT,
        incident_id=INCIDENT,
        **more,
    )
    return Outgoing(kind, b'{"secret": "payload-canary"}', envelope.to_headers())


async def publish(bus: Bus, *facts: Outgoing) -> list[int]:
    """The sequences at which they are stored."""
    stored = await bus.publish(facts)
    assert all(isinstance(item, Stored) for item in stored), stored
    return [item.seq for item in stored if isinstance(item, Stored)]


@dataclass
class Follower:
    """What one connection has heard; `last_id` as a browser keeps it."""

    lines: AsyncIterator[str]
    last_id: str = ""
    seqs: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    text: str = ""

    async def until(self, *, name: str = "", count: int = 0, comment: str = "", end: bool = False) -> None:
        """Read until an event of that name, so many facts, or a comment like that has come; or to the `end` as well."""
        event, data, count = "", "", count + len(self.seqs)
        async for line in self.lines:
            self.text += f"{line}\n"
            key, _, value = line.partition(": ")
            match key:
                case "id":
                    self.last_id = value
                case "event":
                    event = value
                case "data":
                    data = value
                case "" if value:
                    self.comments.append(value)
                    if comment and comment in value:
                        return
                case "":
                    self._dispatch(event, data)
                    if (name and event == name) or (len(self.seqs) >= count and not name and not comment):
                        return
                    event, data = "", ""
        assert end, f"the stream ended: {self.text[-500:]}"

    def _dispatch(self, event: str, data: str) -> None:
        if event:
            self.names.append(event)
        elif data:
            self.seqs.append(orjson.loads(data)["seq"])


@asynccontextmanager
async def following(
    http: httpx.AsyncClient, after: str = "", chosen: Mapping[str, str] | None = None, **headers: str
) -> AsyncIterator[Follower]:
    """A connection to `/events`, as a browser that comes back with `after`; cut when the block ends."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if after:
        named["Last-Event-ID"] = after
    async with http.stream("GET", "/events", headers=named, params=chosen) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Follower(aiter(response.aiter_lines()))
