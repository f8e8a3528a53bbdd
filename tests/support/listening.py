"""A server of a test's own that leaves nothing behind: a connection that outlived its loop would fail a later test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Final

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOK_SECONDS: Final = 0.05


@asynccontextmanager
async def listening(handler: Handler, ssl: SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on loopback and give the port. On the way out what is still connected is cut off, and waited for.

    The connection is closed when the handler returns, which may also be because its client has gone.
    """
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()  # closed already, but where the handler was cut off or failed
            handling.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=ssl)
    # Begun before the end: from then on Python 3.11 does not wait for what is connected.
    closed = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        while not closed.done():  # one that was accepted just now has no handler yet
            for task in handling:
                task.cancel()
            await asyncio.wait({closed}, timeout=LOOK_SECONDS)
