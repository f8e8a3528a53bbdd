"""Contexts and a raw HTTP server that answers, stalls or breaks off as a test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from libs.actions import ActionContext, Effect, Egress
from libs.actions.addresses import EgressPolicy
from libs.actions.shell_policy import ShellPolicy
from tests.support.listening import listening

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """Reads one request a time, keeps it, and lets `answer` write what it likes."""

    port: int = 0
    answer: Answer | None = None
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, *lines: str, body: bytes = b"", length: int | None = None) -> None:
        """Answer every request with a status line, headers and a body."""
        head = "\r\n".join((*lines, f"Content-Length: {len(body) if length is None else length}", "", ""))

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head.encode() + body)
            await writer.drain()

        self.answer = answer

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length")]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            self.requests.append(head + body.decode())
            assert self.answer is not None
            await self.answer(reader, writer)

    def headers(self, index: int = -1) -> dict[str, str]:
        lines = self.requests[index].partition("\r\n\r\n")[0].split("\r\n")[1:]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    raw = RawServer()
    raw.says("HTTP/1.1 200 OK", "Content-Type: application/json", body=b'{"ok":true}')
    async with listening(raw.handle) as raw.port:
        yield raw


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    async with Egress(EgressPolicy.of("127.0.0.1")) as client:
        yield client


@pytest.fixture
def context(egress: Egress) -> Callable[..., ActionContext]:
    def make(seconds: float = 20.0, **more: Any) -> ActionContext:
        given: dict[str, Any] = {
            "idem_key": "idem-1", "fence": 42, "execution_id": "e", "step_path": "s", "attempt": 1,
            "effect": Effect.UNSAFE, "deadline": time.monotonic() + seconds, "egress": egress,
            "shell": ShellPolicy.of("sh,env,echo,sleep,cat,printf,true,python3"),
        }  # fmt: skip
        return ActionContext(**(given | more))

    return make
