"""The golden path while every process is killed once, at a random moment: what may happen once happens once.

The seed is printed, and `RR_CHAOS_SEED` repeats a run.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from runbook_ranger.demo.story import Outcome, Story
from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually
from tests.support.stack import SERVICES, Stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
SERVERS = ("nats", "valkey", "postgres")
PAUSE_SECONDS = (0.0, 1.5)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[DemoTarget]:
    async with DemoTarget(tmp_path / "target") as found:
        yield found


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    found = Stack(workers=2, root=Path(tempfile.mkdtemp(prefix="rr-golden-", dir="/tmp")))
    try:
        found.up()
        yield found
        found.down()
    finally:
        found.close()
        shutil.rmtree(found.root, ignore_errors=True)


async def test_every_process_is_killed_once_and_each_effect_takes_place_once(stack: Stack, target: DemoTarget) -> None:
    seed = int(os.environ.get("RR_CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    sys.stderr.write(f"\nRR_CHAOS_SEED={seed}\n")
    dice = random.Random(seed)
    victims = [*SERVICES, *stack.worker_names, *SERVERS]
    dice.shuffle(victims)

    told = asyncio.create_task(asyncio.to_thread(play, stack, target))
    for victim in victims:
        await asyncio.sleep(dice.uniform(*PAUSE_SECONDS))
        await eventually(lambda name=victim: stack.processes()[name]["pid"], timeout=60)  # type: ignore[misc]
        stack.send(victim, signal.SIGKILL)
    outcome = await told

    assert (outcome.execution_state, outcome.incident_status) == ("completed", "closed")
    assert [step["state"] for step in outcome.steps] == ["succeeded"] * 6
    effects = Counter(effect["endpoint"] for effect in (await target.get("/ledger"))["effects"])
    assert effects == {"/reroute": 1, "/cache/warm": 1}
    await eventually(stack.ready, timeout=60)
    await stack.settled()


def play(stack: Stack, target: DemoTarget) -> Outcome:
    """The demo's story, told to nobody."""
    address = json.loads(stack.layout.client.read_text())
    headers = {"Authorization": f"Bearer {address['token']}"}
    with (
        httpx.Client(base_url=address["url"], headers=headers, timeout=5) as api,
        httpx.Client(base_url=target.url, timeout=5) as ill,
    ):
        story = Story(api, ill, lambda _line: None)
        story.run()
        story.show_timeline()
        return story.outcome
