"""A gateway as operators run it: a process of its own, seen only through its ports, its output and its exit code."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.eventually import eventually


@dataclass
class GatewayProcess:
    """A running `python -m services.gateway`, or another service's process, which has no `url`."""

    process: asyncio.subprocess.Process
    url: str
    health: str
    output: Path

    @classmethod
    async def start(cls, env: Mapping[str, str], folder: Path, module: str = "services.gateway") -> "GatewayProcess":
        port, health = free_port(), free_port()
        output = folder / f"{module}.log"
        with output.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module),
                env={
                    "PATH": os.environ["PATH"],
                    **env,
                    "RR_GATEWAY_PORT": str(port),
                    "RR_HEALTH_PORT": str(health),
                },
                stdout=file,
                stderr=asyncio.subprocess.STDOUT,
            )
        return cls(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health}", output)

    async def ready(self) -> bool:
        assert self.process.returncode is None, self.said
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.health}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 20)

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
