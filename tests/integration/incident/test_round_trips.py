"""A batch costs the same number of round trips whether it holds one alert or thousands."""

from collections.abc import AsyncIterator, Sequence

import pytest

from libs.common.clock import utc_now
from libs.common.consumer import Received
from libs.common.contracts.alert import Alert
from libs.common.database import Database
from libs.common.ids import new_id
from libs.common.outbox import Outbox
from services.incident.handlers import Handlers
from services.incident.orders import Orders
from services.incident.sla import Sla
from services.incident.usecases import UseCases
from tests.support.servers import StackEnv
from tests.unit.incident.samples import alert

pytestmark = pytest.mark.stack

ALERTS_A_POST = 20
AT_MOST = 4
"""Lock, two reads, and one that writes everything; entering the inbox and committing come on top."""


@pytest.fixture
async def database(stack_env: StackEnv) -> AsyncIterator[Database]:
    url = stack_env.service("incident")["RR_POSTGRES_URL"]
    found = Database(url, schema="incident", instance="incident-test", pool_size=1)
    await found.open()
    for status in ("firing", "resolved"):  # the first statements of a connection also look types up
        await statements(found, posts(1, status, "warm-up"))
    yield found
    await found.close()


def posts(count: int, status: str, problem: str = "f") -> list[Received[list[Alert]]]:
    return [
        Received(
            value=[alert(status, fingerprint=f"{problem}{number}-{n}") for n in range(ALERTS_A_POST)],
            event_id=new_id(),
            aggregate_id="",
            tenant="default",
            traceparent="",
            subject="alert.event",
            stream="INGRESS",
            epoch=1,
            seq=number + 1,
            received_ns=0,
            headers={},
            data=b"",
        )
        for number in range(count)
    ]


async def statements(database: Database, messages: Sequence[Received[list[Alert]]]) -> int:
    """How many statements the handler sends for a batch."""
    sent: list[str] = []
    means = Outbox("incident", "incident"), utc_now, new_id, Sla()
    handlers = Handlers(UseCases(*means), Orders(*means))
    async with database.transaction("test") as tx:
        with tx.query_logger(lambda query: sent.append(query.query)):
            await handlers.alerts(tx, messages)
    return len(sent)


@pytest.mark.parametrize("count", [1, 50])
async def test_opening_repeating_and_ending_cost_the_same_for_any_number(database: Database, count: int) -> None:
    opening = await statements(database, posts(count, "firing"))
    repeating = await statements(database, posts(count, "firing"))
    ending = await statements(database, posts(count, "resolved"))

    assert (opening, repeating, ending) == (4, 4, 4)
    assert await database.pool.fetchval("SELECT count(*) FROM incident WHERE status = 'resolved'") == (
        (count + 1) * ALERTS_A_POST
    )


async def test_opening_and_changing_in_one_batch_costs_no_more_than_was_promised(database: Database) -> None:
    await statements(database, posts(3, "firing"))

    mixed = await statements(database, [*posts(3, "resolved"), *posts(9, "firing"), *posts(9, "resolved")])

    assert mixed <= AT_MOST
