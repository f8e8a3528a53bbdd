"""A gateway as operators run it: a process of its own, seen only through its ports, its output and its exit code."""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support import forked
from tests.support.eventually import eventually


@dataclass
class GatewayProcess:
    """A running `python -m services.gateway`, or another service's process, which has no `url`."""

    process: forked.Process
    url: str
    health: str
    output: Path

    @classmethod
    async def start(cls, env: Mapping[str, str], folder: Path, module: str = "services.gateway") -> "GatewayProcess":
        port, health = free_port(), free_port()
        output = folder / f"{module}.log"
        with output.open("ab") as file:
            ports = {"RR_GATEWAY_PORT": str(port), "RR_HEALTH_PORT": str(health)}
            process = forked.start(module, env={"PATH": os.environ["PATH"], **env, **ports}, output=file)
        return cls(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health}", output)

    async def ready(self) -> bool:
        assert self.process.returncode is None, self.said
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.health}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self) -> int:
        """Ask it to stop in order; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 20)

    async def end(self) -> None:
        """kill -9, for what no longer matters to a test."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    @property
    def said(self) -> str:
        return self.output.read_text()

    async def until_ready(self) -> "GatewayProcess":
        await eventually(self.ready, timeout=30)
        return self


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
