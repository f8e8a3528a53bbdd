"""Stand-ins for the services behind the gateway: they answer on the real bus and remember what they were asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from libs.common.bus import round_trip
from libs.common.errors import RangerError


@dataclass(frozen=True)
class Asked:
    """One request as a service gets it."""

    subject: str
    request: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def body(self) -> Mapping[str, Any]:
        body: Mapping[str, Any] = self.request["body"]
        return body


@dataclass
class FakeServices:
    """Answers every `rpc.<service>.<verb>` it was told an answer for; stays silent on the others."""

    client: Client
    asked: list[Asked] = field(default_factory=list)

    @classmethod
    async def connect(cls, url: str) -> "FakeServices":
        return cls(await nats.connect(url, reconnect_time_wait=0.1, max_reconnect_attempts=-1))

    async def answer(self, verb: str, content: Mapping[str, Any] | RangerError) -> Subscription:
        reply = {"error": content.to_wire()} if isinstance(content, RangerError) else {"ok": content}

        async def handle(message: Msg) -> None:
            self.asked.append(Asked(message.subject, orjson.loads(message.data), message.headers or {}))
            await message.respond(orjson.dumps(reply))

        subscription = await self.client.subscribe(f"rpc.{verb}", cb=handle)
        await round_trip(self.client)
        return subscription

    @property
    def last(self) -> Asked:
        return self.asked[-1]
