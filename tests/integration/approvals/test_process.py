"""`python -m services.approvals` says truly whether it is well."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.servers import Servers, StackEnv

pytestmark = pytest.mark.stack


class Process:
    """A running approvals service, seen through its health port and its exit code."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self._url = f"http://127.0.0.1:{port}"

    async def report(self) -> tuple[int, dict[str, Any]]:
        """What `/readyz` says; 0 while nobody listens."""
        assert self.process.returncode is None
        async with httpx.AsyncClient(timeout=10) as client:
            try:
                reply = await client.get(f"{self._url}/readyz")
            except httpx.TransportError:
                return 0, {}
        return reply.status_code, reply.json()

    async def ready(self) -> bool:
        """Whether it says that it is."""
        return (await self.report())[0] == 200

    async def misses(self, dependency: str) -> bool:
        """Whether it says that just this dependency is down."""
        status, report = await self.report()
        down = [name for name, check in report.get("checks", {}).items() if check["status"] != "ok"]
        return status == 503 and down == [dependency]


@pytest.fixture
async def approvals(stack_env: StackEnv) -> AsyncIterator[Process]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    env = {"PATH": os.environ["PATH"], **stack_env.service("approvals", RR_HEALTH_PORT=str(port))}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.approvals", env=env)
    found = Process(process, port)
    try:
        await eventually(found.ready, timeout=30)
        yield found
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_names_the_server_that_is_gone_and_recovers_with_it(approvals: Process, servers: Servers) -> None:
    for server, name in ((servers.nats, "nats"), (servers.postgres, "postgres")):
        servers.kill(server)

        async def missed(dependency: str = name) -> bool:
            return await approvals.misses(dependency)

        await eventually(missed, timeout=20)
        servers.restart(server)
        await eventually(approvals.ready, timeout=30)


async def test_it_ends_well_when_it_is_told_to(approvals: Process) -> None:
    approvals.process.send_signal(signal.SIGTERM)

    assert await asyncio.wait_for(approvals.process.wait(), 20) == 0
