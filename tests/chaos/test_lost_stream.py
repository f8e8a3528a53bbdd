"""The bus loses everything that it stored, while steps are under way: it is filled again from Postgres, by itself.

Alerts that only the bus had are their senders' to repeat; every fact is an outbox's or the log's.
"""

import signal

import pytest

from libs.common.contracts.choreography import EVENTS
from tests.chaos.lab import HOLD_AFTER, KEYED, OPEN, Lab
from tests.support.eventually import eventually
from tests.support.processes import freeze
from tests.support.stack import Case

pytestmark = [pytest.mark.chaos, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

NOTHING = "0 facts of outboxes {} again by their relays"


async def test_a_bus_that_lost_its_store_in_the_middle_of_steps_costs_nothing(lab: Lab) -> None:
    cases = [lab.case(KEYED) for _ in range(4)]
    await lab.hold(HOLD_AFTER)
    for case in cases:
        await case.fire()
    await lab.held()

    await lose_everything(lab)
    await lab.hold(OPEN)

    for case in cases:
        await completes(case)
        assert (await lab.count(case))[1] == 1
    await lab.stack.settled()


async def test_what_a_consumer_had_not_heard_comes_from_the_log(lab: Lab) -> None:
    """The log has chained it, so no outbox has it any more, and the service that it concerns stood still."""
    case = lab.case(KEYED)
    freeze(lab.stack.pid("catalog"))
    try:
        await lab.stack.post("/webhooks/events", case.event())
        await eventually(lambda: chained(lab, case), timeout=20)
        await lose_everything(lab)
    finally:
        lab.stack.send("catalog", signal.SIGCONT)

    await case.planned()
    await completes(case)

    await lab.stack.settled()
    duplicates = await lab.stack.rows("SELECT count(*) FROM timeline.leaf WHERE kind = 'duplicate'")
    assert duplicates[0]["count"] > 0


async def test_republishing_by_hand_sends_what_is_lacking_and_nothing_else(lab: Lab) -> None:
    case = lab.case(KEYED)
    await case.fire()
    await completes(case)
    await lab.stack.settled()

    assert lab.stack.ranger("republish", "--dry-run").splitlines() == [NOTHING.format("would be published")]
    forgotten = await lab.stack.rows(
        "DELETE FROM approvals.inbox i USING timeline.payload p WHERE i.event_id::text = p.event_id"
        " AND p.execution_id = $1 AND p.type = 'runbook.completed' RETURNING i.event_id",
        case.execution,
    )
    assert len(forgotten) == 1

    foreseen = lab.stack.ranger("republish", "--dry-run").splitlines()
    done = lab.stack.ranger("republish").splitlines()

    assert foreseen[1:] == ["1 facts of the log would be published again for approvals"]
    assert done == [NOTHING.format("published"), "1 facts of the log published again for approvals"]
    await eventually(lambda: heard(lab, forgotten[0]["event_id"]), timeout=20)
    await lab.stack.settled()


async def heard(lab: Lab, event_id: object) -> bool:
    """Whether the approvals service has applied a fact."""
    return bool(await lab.stack.rows("SELECT 1 FROM approvals.inbox WHERE event_id = $1", event_id))


async def lose_everything(lab: Lab) -> None:
    """kill -9 of the server, and its files with it; returns when a stream of a new epoch has been filled."""
    before = await epoch(lab)
    await lab.stack.kill("nats", erase=True, ready=False)  # a service may be frozen, and seen to be

    async def filled() -> bool:
        return await epoch(lab) > before

    await eventually(filled, timeout=60)


async def epoch(lab: Lab) -> int:
    """The last epoch of the stream of facts that was filled."""
    rows = await lab.stack.rows(
        "SELECT epoch FROM public.stream_epoch WHERE stream = $1 AND (epoch = 1 OR filled_at IS NOT NULL)", EVENTS
    )
    return rows[0]["epoch"] if rows else 0


async def chained(lab: Lab, case: Case) -> bool:
    """Whether the log has the case's incident, and has freed the outbox that told of it."""
    rows = await lab.stack.rows(
        "SELECT (SELECT count(*) FROM incident.outbox) AS kept, (SELECT count(*) FROM timeline.payload WHERE"
        " type = 'incident.created' AND position($1 IN convert_from(payload, 'UTF8')) > 0) AS logged",
        case.name,
    )
    return bool(rows) and rows[0]["logged"] == 1 and rows[0]["kept"] == 0


async def completes(case: Case) -> None:
    """The effect took place; the alert ends, and with it the execution."""
    await case.reaches(phase="verify")
    await case.resolve()
    await case.reaches(state="completed")
