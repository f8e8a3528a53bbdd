"""A clean stack, and the approvals service in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.bus import Bus
from libs.common.contracts.choreography import ADMIN
from tests.integration.approvals.room import Executor, Room
from tests.support.servers import StackEnv


@pytest.fixture
async def room(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Room]:
    """No instance yet; whatever a test starts is ended after it."""
    env = stack_env.service("approvals")
    bus = Bus(stack_env["RR_NATS_URL"], name="approvals-test", identity=ADMIN)
    await bus.connect()
    found = Room(env, stack_env["RR_POSTGRES_URL"], tmp_path, bus)
    try:
        yield found
    finally:
        await found.stop()
        await bus.close()


@pytest.fixture
async def executor(room: Room) -> Executor:
    """Lets go of every grant, until a test says otherwise."""
    found = Executor(room.bus)
    await found.serve()
    return found
