"""Each test begins with a clean stack, quickly."""

import time

import asyncpg
import nats
import pytest
from redis.asyncio import Redis

from tests.support.servers import Servers, StackEnv

pytestmark = pytest.mark.stack


async def _fill(env: StackEnv) -> None:
    connection = await asyncpg.connect(env["RR_POSTGRES_URL"])
    await connection.execute("create table public.left_behind (id int)")
    await connection.close()
    client = await nats.connect(env["RR_NATS_URL"])
    await client.jetstream().publish("incident.created", b"{}")
    await client.close()
    redis = Redis.from_url(env["RR_REDIS_URL"])
    await redis.xadd("rr:steps:default:high", {"action_id": "1"})
    await redis.aclose()


@pytest.mark.parametrize("_turn", [1, 2])
async def test_nothing_is_left_from_the_test_before(stack_env: StackEnv, _turn: int) -> None:
    connection = await asyncpg.connect(stack_env["RR_POSTGRES_URL"])
    client = await nats.connect(stack_env["RR_NATS_URL"])
    redis = Redis.from_url(stack_env["RR_REDIS_URL"])

    assert await connection.fetchval("select to_regclass('public.left_behind')") is None
    assert await connection.fetchval("select epoch from public.stream_epoch where stream = 'EVENTS'") == 1
    assert (await client.jetstream().stream_info("EVENTS")).state.messages == 0
    assert await redis.xlen("rr:steps:default:high") == 0
    assert {group["name"] for group in await redis.xinfo_groups("rr:steps:default:normal")} == {b"workers"}

    await redis.aclose()
    await client.close()
    await connection.close()
    await _fill(stack_env)


def test_a_service_gets_its_own_role_and_no_secret_of_the_stack(stack_env: StackEnv) -> None:
    env = stack_env.service("incident", RR_CRASH_AT="after_publish")

    assert "rr_incident:" in env["RR_POSTGRES_URL"]
    assert "RR_ROLE_SECRET" not in env
    assert env["RR_CRASH_AT"] == "after_publish"


def test_cleaning_takes_less_than_half_a_second(servers: Servers, request: pytest.FixtureRequest) -> None:
    assert servers.postgres.is_ready()
    began = time.monotonic()

    request.getfixturevalue("stack_env")

    assert time.monotonic() - began < 2  # 0.2 s when the machine is quiet
