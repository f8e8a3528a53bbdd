"""Reads of the stream besides the consumer's: what is missing, and whether it is still the stream we know.

They go to the stream's leader: a replica may lag, and what it does not have yet would be logged as a gap.
"""

import asyncio
import base64
from dataclasses import dataclass
from typing import Any, Final

from libs.common.bus import Bus
from libs.common.streams import EPOCH_KEY, described, stored_message
from services.timeline.intake import headers, nanoseconds
from services.timeline.model import Hole, Received

WINDOW: Final = 64


@dataclass(frozen=True, slots=True)
class Extent:
    """What a stream holds: epoch, last sequence, and the last sequence that the durable delivered to anyone."""

    epoch: int
    last: int
    delivered: int


class EventStream:
    """One stream, read by sequence."""

    def __init__(self, bus: Bus, name: str, durable: str) -> None:
        self._bus = bus
        self.name = name
        self.durable = durable

    async def extent(self) -> Extent:
        """What the stream holds now.

        Raises:
            NotFoundError: stream or consumer is not there; run provisioning.
        """
        info, consumer = await asyncio.gather(
            described(self._bus, f"STREAM.INFO.{self.name}"),
            described(self._bus, f"CONSUMER.INFO.{self.name}.{self.durable}"),
        )
        epoch = int((info["config"].get("metadata") or {}).get(EPOCH_KEY, "1"))
        return Extent(epoch, info["state"]["last_seq"], consumer["delivered"]["stream_seq"])

    async def get(self, seq: int) -> Received | None:
        """The message at a sequence; None when the leader says that there is none."""
        return await self._request({"seq": seq})

    async def next_from(self, seq: int) -> Received | None:
        """The first message at or after a sequence; None when there is none."""
        return await self._request({"seq": seq, "next_by_subj": ">"})

    async def read(self, first: int, last: int) -> list[Received] | Hole:
        """What stands at `first` and after it: messages without a break, at most a window, or the hole there.

        A hole is given whole, up to the next message, even beyond `last`: so it is the same however reading is cut.
        """
        wanted = range(first, min(first + WINDOW, last + 1))
        found: list[Received] = []
        for message in await asyncio.gather(*(self.get(seq) for seq in wanted)):
            if message is None:
                break
            found.append(message)
        if found:
            return found
        following = await self.next_from(first)
        return Hole(first, last if following is None else following.seq - 1)

    async def _request(self, request: dict[str, Any]) -> Received | None:
        message = await stored_message(self._bus, self.name, request)
        if message is None:
            return None
        return Received(
            seq=message["seq"],
            subject=message["subject"],
            ts_ns=nanoseconds(message["time"]),
            headers=headers(base64.b64decode(message.get("hdrs", ""))),
            payload=base64.b64decode(message.get("data", "")),
        )
