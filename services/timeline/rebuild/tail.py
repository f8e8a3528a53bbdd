"""What exports lack of the published log: leaves from its tiles, and their payloads from the stream."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import orjson

from libs.common.contracts.envelope import Envelope
from libs.common.objectstore import ObjectStore
from libs.tlog.chain import Message
from libs.tlog.errors import LeafError
from libs.tlog.hashing import commit
from libs.tlog.shape import CONTROL, EVENT
from services.timeline.intake import arrival
from services.timeline.marks import Mark
from services.timeline.rebuild import sources
from services.timeline.rebuild.rows import Copy
from services.timeline.stream import EventStream

AT_ONCE: Final = 64


class Lost(Exception):
    """A payload is nowhere any more: the log cannot be whole again."""


class Tail:
    """The published leaves `first` to before `size`."""

    def __init__(self, store: ObjectStore, stream: EventStream, first: int, size: int) -> None:
        self._store = store
        self._stream = stream
        self._first = first
        self._size = size

    async def redacted(self) -> set[int]:
        """Of which events it says that their payload is gone."""
        found = set()
        async for _, leaf in sources.leaves(self._store, self._first, self._size):
            if b'"redaction"' in leaf:
                read = orjson.loads(leaf)
                if read["kind"] == CONTROL and read["body"]["type"] == "redaction":
                    found.add(int(read["body"]["of"]))
        return found

    async def copies(self, redacted: Collection[int]) -> AsyncIterator[Copy]:
        """They in order, with payloads except where they were redacted.

        Raises:
            Lost: the stream does not hold a payload any more.
            BrokenLog, FormatError: a leaf is not published.
        """
        epoch = (await self._stream.extent()).epoch if self._first < self._size else 0
        waiting: list[tuple[int, bytes]] = []
        async for item in sources.leaves(self._store, self._first, self._size):
            waiting.append(item)
            if len(waiting) == AT_ONCE:
                for copy in await self._copied(waiting, redacted, epoch):
                    yield copy
                waiting = []
        for copy in await self._copied(waiting, redacted, epoch):
            yield copy

    async def _copied(self, items: list[tuple[int, bytes]], redacted: Collection[int], epoch: int) -> list[Copy]:
        return await asyncio.gather(*(self._copy(*item, redacted, epoch) for item in items))

    async def _copy(self, index: int, leaf: bytes, redacted: Collection[int], epoch: int) -> Copy:
        read = orjson.loads(leaf)
        if read["kind"] != EVENT:
            return Copy(index, leaf, None, None, Mark())
        src = read["src"]
        message = await self._stream.get(int(src["seq"])) if int(src["epoch"]) == epoch else None
        if message is None:
            if index in redacted:  # how it was marked went with the message
                return Copy(index, leaf, None, None, Mark())
            raise Lost(
                f"leaf {index} is in no export, and the stream has no sequence {src['seq']} of epoch {src['epoch']}"
            )
        came = arrival(message, stream=src["stream"], epoch=epoch)
        item, envelope = came.item, came.envelope
        if not isinstance(item, Message) or envelope is None or not _is(item, read):
            raise Lost(f"the stream's sequence {src['seq']} is not what leaf {index} tells of")
        payload, salt = (None, None) if index in redacted else (item.payload, item.salt)
        return Copy(index, leaf, payload, salt, _mark(envelope))


def _is(item: Message, read: dict[str, Any]) -> bool:
    try:
        return bool(commit(item.payload, item.salt).hex() == read["payload"]["commit"])
    except LeafError:
        return False


def _mark(envelope: Envelope) -> Mark:
    return Mark(envelope.marking, envelope.schema, envelope.traceparent)
