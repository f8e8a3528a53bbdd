"""The executor's parts over a clean stack."""

from collections.abc import AsyncIterator

import pytest

from libs.common.database import Database
from services.executor.hints import Hints, connect
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench
from tests.support.servers import StackEnv


@pytest.fixture
async def bench(stack_env: StackEnv) -> AsyncIterator[Bench]:
    """Parts that share a database and a Valkey, with the rights of the executor's role."""
    url = stack_env.service("executor")["RR_POSTGRES_URL"]
    database = Database(url, schema="executor", instance="executor-test", pool_size=16)
    await database.open()
    redis = connect(stack_env["RR_REDIS_URL"], name="executor-test")
    yield Bench(database, Hints(redis), redis)
    await redis.aclose()
    await database.close()


@pytest.fixture
def grace(bench: Bench) -> Approver:
    """Who decides."""
    return Approver(bench)
