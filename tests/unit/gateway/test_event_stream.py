"""How a response of events ends: with its chunks, with a client that leaves, with one that takes nothing."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import Message

from services.gateway.events import EventStream
from tests.support.eventually import eventually


class Client:
    """The server's side of one connection: takes a few messages and then no more, or leaves."""

    def __init__(self, *, takes: int = 1000, leaves: bool = False) -> None:
        self.taken: list[Message] = []
        self._takes, self._leaves = takes, leaves

    async def receive(self) -> Message:
        if not self._leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if len(self.taken) >= self._takes:
            await asyncio.Event().wait()
        self.taken.append(message)


class Chunks:
    """A stream of so many chunks; remembers that it was let go."""

    def __init__(self, count: int) -> None:
        self.let_go = False
        self._left = count

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            while self._left:
                self._left -= 1
                yield b": x\n\n"
                await asyncio.sleep(0)
        finally:
            self.let_go = True


async def answered(client: Client, chunks: Chunks) -> None:
    response = EventStream(chunks(), slow_seconds=0.05)
    async with asyncio.timeout(5):
        await response({"type": "http"}, client.receive, client.send)


async def test_the_response_ends_with_its_chunks() -> None:
    client, chunks = Client(), Chunks(3)

    await answered(client, chunks)

    assert [message.get("more_body") for message in client.taken] == [None, True, True, True, False]


async def test_a_client_that_leaves_ends_it() -> None:
    client, chunks = Client(leaves=True), Chunks(1 << 62)

    await answered(client, chunks)

    assert chunks.let_go or not client.taken[1:]


async def test_a_client_that_takes_nothing_is_cut_and_nothing_more_is_said_to_it() -> None:
    client, chunks = Client(takes=3), Chunks(1 << 62)

    await answered(client, chunks)

    assert chunks.let_go
    assert client.taken[-1]["more_body"] is True


async def test_a_cancellation_that_a_library_loses_keeps_nobody_listening() -> None:
    client, lost = Client(), asyncio.Event()

    async def careless() -> AsyncGenerator[bytes, None]:
        yield b": x\n\n"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        while True:
            yield b": still here\n\n"
            await asyncio.sleep(0.01)

    answering = asyncio.create_task(
        EventStream(careless(), slow_seconds=1)({"type": "http"}, client.receive, client.send)
    )
    await eventually(lambda: len(client.taken) > 1)
    answering.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait({answering})

    assert lost.is_set()
    assert answering.cancelled()
