"""A clean stack, and an empty log in it."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import nats
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from libs.common.bus import Bus
from libs.common.database import Database
from services.timeline.settings import TimelineSettings
from tests.integration.timeline.bench import Bench
from tests.support.servers import StackEnv

_numbers = itertools.count(1)


@pytest.fixture
async def admin(stack_env: StackEnv) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The administrator's connection, to do what the service cannot."""
    connection = await asyncpg.connect(stack_env["RR_POSTGRES_URL"], server_settings={"search_path": "timeline"})
    yield connection
    await connection.close()


@pytest.fixture
async def client(stack_env: StackEnv) -> AsyncIterator[Client]:
    """A plain connection, as a producer has it."""
    connection = await nats.connect(stack_env["RR_NATS_URL"])
    yield connection
    await connection.close()


@pytest.fixture
async def bench(stack_env: StackEnv, client: Client) -> AsyncIterator[Bench]:
    """An empty log and a stream of its own, without deny_delete."""
    env = stack_env.service("timeline")
    settings = TimelineSettings(
        nats_url=SecretStr(stack_env["RR_NATS_URL"]),
        postgres_url=SecretStr(env["RR_POSTGRES_URL"]),
        timeline_origin="ranger.test/timeline",
        timeline_standby_seconds=0.1,
        timeline_recheck_seconds=0.1,
        timeline_heartbeat_seconds=0,
        timeline_control_seconds=0.1,
    )
    database = Database(env["RR_POSTGRES_URL"], schema="timeline", instance="timeline-test", pool_size=4)
    bus = Bus(stack_env["RR_NATS_URL"], name="timeline-test")
    await database.open()
    await bus.connect()
    async with Bench(client, database, bus, settings, number=next(_numbers)) as bench:
        yield bench
    await bus.close()
    await database.close()
