"""HTTP load from one process: keep-alive connections that write ready-made requests and read whole answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from bench.errors import WorkWrong

_LENGTH: Final = b"content-length:"


@dataclass(slots=True)
class Load:
    """What one load brought: seconds of each request, and how long it took altogether."""

    times: list[float] = field(default_factory=list)
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.times) / self.took


class Connection:
    """One keep-alive connection; an async context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        line = next(found for found in head.lower().split(b"\r\n") if found.startswith(_LENGTH))
        body = await self._reader.readexactly(int(line[len(_LENGTH) :]))
        return int(head[9:12]), body


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A whole request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def load(
    url: str, make: Callable[[], bytes], *, connections: int, seconds: float, status: int, least: int = 1
) -> Load:
    """Ask over so many connections for so long, and at least `least` times over each.

    Raises:
        WorkWrong: an answer has another status.
    """
    found = Load()
    began = time.perf_counter()

    async def sender() -> None:
        async with Connection(url) as connection:
            count = 0
            while count < least or time.perf_counter() - began < seconds:
                asked = time.perf_counter()
                got, body = await connection.ask(make())
                found.times.append(time.perf_counter() - asked)
                count += 1
                if got != status:
                    raise WorkWrong(f"status {got}, where {status} is wanted: {body[:500].decode(errors='replace')}")

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(sender())
    found.took = time.perf_counter() - began
    return found
