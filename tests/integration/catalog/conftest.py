"""Real servers, the catalog's own role, and the catalog as a process."""

import os
from collections.abc import AsyncIterator

import pytest

from libs.common.bus import Bus
from libs.common.contracts.choreography import ADMIN
from libs.common.database import Database
from libs.common.policy import Principal
from libs.common.rpc import RpcClient
from tests.integration.catalog.asker import Asker
from tests.support import forked
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

ADA = Principal("ada", frozenset({"acme"}), frozenset({"operator"}))


@pytest.fixture
async def database(stack_env: StackEnv) -> AsyncIterator[Database]:
    """The catalog's schema, with the rights of its role."""
    url = stack_env.service("catalog")["RR_POSTGRES_URL"]
    found = Database(url, schema="catalog", instance="catalog-test", pool_size=4)
    await found.open()
    yield found
    await found.close()


@pytest.fixture
async def bus(stack_env: StackEnv) -> AsyncIterator[Bus]:
    """A connection as any service has it."""
    found = Bus(stack_env["RR_NATS_URL"], name="catalog-test", identity=ADMIN)
    await found.connect()
    yield found
    await found.close()


@pytest.fixture
async def asker(bus: Bus) -> Asker:
    """Asks the catalog, as Ada of acme."""
    return Asker(RpcClient(bus, timeout=5.0), ADA, "acme")


@pytest.fixture
async def catalog(stack_env: StackEnv, asker: Asker) -> AsyncIterator[None]:
    """`python -m services.catalog`, once it answers."""
    process = forked.start("services.catalog", env={**os.environ, **stack_env.service("catalog")})
    try:
        await eventually(asker.answers, timeout=30)
        yield
    finally:
        process.kill()
        await process.wait()
