"""Everybody who looks into one schema every so often does it with one statement, and outages pass."""

from typing import Any

import pytest

from libs.common.pulse import Pulse
from tests.integration.common.lab import Lab, running
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


class Ears:
    """What was said to each of those who asked."""

    def __init__(self) -> None:
        self.one: list[Any] = []
        self.two: list[Any] = []


@pytest.fixture
def ears() -> Ears:
    return Ears()


async def test_one_statement_answers_all(lab: Lab, ears: Ears) -> None:
    pulse = Pulse(lab.incident)
    pulse.ask("SELECT statement_timestamp()", ears.one.append, within=60)
    pulse.ask("statement_timestamp()", ears.two.append, within=60)
    pulse.ask("EXISTS (SELECT FROM outbox)", ears.two.append, within=60)

    await pulse.look()

    assert ears.two == [*ears.one, False]


async def test_who_asks_later_and_more_often_sets_the_pace_at_once(lab: Lab, ears: Ears) -> None:
    pulse = Pulse(lab.incident)
    async with running(pulse.run):
        pulse.ask("SELECT 1", ears.one.append, within=600)
        await eventually(lambda: ears.one == [1])

        pulse.ask("SELECT 2", ears.two.append, within=0.01)

        await eventually(lambda: len(ears.two) > 3)
    assert len(ears.one) >= len(ears.two)


async def test_after_an_outage_the_looks_go_on(lab: Lab, ears: Ears, servers: Servers) -> None:
    pulse = Pulse(lab.incident)
    pulse.ask("SELECT 1", ears.one.append, within=0.05)
    async with running(pulse.run):
        await eventually(lambda: bool(ears.one))
        servers.kill(servers.postgres)
        servers.restart(servers.postgres)
        ears.one.clear()

        await eventually(lambda: bool(ears.one), timeout=20)


async def test_a_connection_of_ones_own_is_kept_from_idling(lab: Lab, ears: Ears) -> None:
    """The server ends a session that is silent for longer; the looks keep this one."""
    connection = await lab.incident.dedicated()
    try:
        await connection.execute("SET idle_session_timeout = 400")
        pulse = Pulse(lab.incident)
        pulse.ask("SELECT pg_backend_pid()", ears.one.append, within=0.1)
        async with running(lambda: pulse.run(connection)):
            await eventually(lambda: len(ears.one) > 8)
        assert set(ears.one) == {connection.get_server_pid()}
    finally:
        connection.terminate()
