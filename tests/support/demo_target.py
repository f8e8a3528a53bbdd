"""The demo target as a real process that a test can ask, hold, kill and start again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support import forked

ROOT = Path(__file__).resolve().parents[2]


class DemoTarget:
    """`async with DemoTarget(directory) as target`; its journal stays in the directory."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._process: forked.Process | None = None
        self._output: asyncio.ReadTransport | None = None
        self._client: httpx.AsyncClient | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start, or start again on the same port."""
        said, output = os.pipe()
        self._process = forked.start(
            "runbook_ranger.demo.target",
            *("--port", str(self.port), "--dir", str(self._directory), *self._options),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            output=output,
        )
        os.close(output)
        lines = asyncio.StreamReader()
        self._output, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(said, "rb")
        )
        line = await asyncio.wait_for(lines.readline(), 20)
        self.port = json.loads(line)["port"]
        self._client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20)

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def get(self, path: str) -> Any:
        """The JSON behind a path."""
        assert self._client is not None
        return (await self._client.get(path)).raise_for_status().json()

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Post JSON; underscores in header names are hyphens."""
        assert self._client is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.post(path, json=body or {}, headers=named)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._client is not None:
            await self._client.aclose()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            await asyncio.wait_for(self._process.wait(), 20)
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None
