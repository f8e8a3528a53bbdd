"""Hints: what Redis does to them, and to who sends them."""

import asyncio

import pytest

from services.executor.hints import STREAMS, Hints, connect
from services.executor.model import Hint
from tests.integration.executor.bench import Bench
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
HINT = Hint("0190a0de-0000-7000-8000-000000000001", STREAMS[1], "")


async def test_who_is_cancelled_at_any_moment_of_sending_ends(bench: Bench, stack_env: StackEnv) -> None:
    for turns in range(40):
        redis = connect(stack_env["RR_REDIS_URL"], name="executor-test")
        sending = asyncio.create_task(forever(Hints(redis)))
        for _ in range(turns):
            await asyncio.sleep(0)

        sending.cancel()

        done, _ = await asyncio.wait({sending}, timeout=10)
        assert done, f"cancelled after {turns} turns of the loop, it goes on"
        await redis.aclose()
    assert set(await bench.hinted()) <= {HINT.action_id}


async def forever(hints: Hints) -> None:
    """Send, and then wait for what never comes."""
    await hints.send([HINT])
    await asyncio.Event().wait()
