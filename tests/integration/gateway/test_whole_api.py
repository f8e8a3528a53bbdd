"""The API in front of every real service: nothing that its description allows, or does not, meets a bug."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.test_routes import ENDLESS, fuzz
from tests.support.servers import StackEnv

SERVICES = ("incident", "catalog", "executor", "approvals", "timeline")


@pytest.fixture
async def everyone(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[list[GatewayProcess]]:
    """Every service, ready."""
    running = [await GatewayProcess.start(stack_env.service(n), tmp_path, f"services.{n}") for n in SERVICES]
    try:
        await asyncio.gather(*(process.until_ready() for process in running))
        yield running
    finally:
        await asyncio.gather(*(process.end() for process in running))


async def test_no_service_meets_a_bug_whatever_is_asked(
    http: httpx.AsyncClient, everyone: list[GatewayProcess]
) -> None:
    document = (await http.get("/openapi.json")).json()
    del document["paths"][ENDLESS]

    await asyncio.to_thread(fuzz, document, str(http.base_url))

    assert not [process.output.name for process in everyone if "rpc_failed" in process.said]
