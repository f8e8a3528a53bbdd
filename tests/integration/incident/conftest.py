"""A clean stack, and the incident service in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.bus import Bus
from libs.common.contracts.choreography import ADMIN
from tests.integration.incident.room import Room
from tests.support.servers import StackEnv


@pytest.fixture
async def room(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Room]:
    """No instance yet; whatever a test starts is ended after it."""
    env = stack_env.service("incident")
    bus = Bus(stack_env["RR_NATS_URL"], name="incident-test", identity=ADMIN)
    await bus.connect()
    found = Room(env, tmp_path, bus)
    try:
        yield found
    finally:
        await found.stop()
        await bus.close()
