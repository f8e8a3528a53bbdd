"""What a person says of a step whose outcome nobody knows, asked over the bus."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.bus import Bus
from libs.common.errors import RangerError
from libs.common.ids import new_id
from libs.common.policy import Principal
from libs.common.rpc import RpcClient, RpcServer
from services.executor.commands import DecideStep
from tests.integration.executor.bench import ADA, TENANT, Bench, runbook, states, step
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
UNSAFE = runbook(step("one", effect="unsafe"), step("two"))


class Desk:
    """Asks the executor's `decide_step`."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def decide(
        self, execution: str, decision: str, *, key: str = "", who: Principal = ADA, rationale: str = "I looked"
    ) -> dict[str, Any]:
        body = {"execution_id": execution, "step": "one", "decision": decision, "rationale": rationale}
        return await self._client.ask(
            "executor", "decide_step", body, principal=who, tenant=TENANT, request_key=key or new_id()
        )


@pytest.fixture
async def desk(bench: Bench, stack_env: StackEnv) -> AsyncIterator[Desk]:
    """The verb, served as the executor serves it."""
    bus = Bus(stack_env["RR_NATS_URL"], name="executor-test")
    await bus.connect()
    server = RpcServer(bus, bench.database, "executor")
    server.command("decide_step", DecideStep, bench.people.decide_step, bench.hints.flush)
    await bus.serve()
    yield Desk(RpcClient(bus, timeout=10.0))
    await bus.close()


async def unknown(bench: Bench) -> str:
    """An execution whose first step nobody knows about."""
    execution = await bench.execution(UNSAFE)
    await bench.expire(await bench.running(execution))
    await bench.hinted()
    return execution


async def test_succeeded_goes_on_to_the_next_step(bench: Bench, desk: Desk) -> None:
    execution = await unknown(bench)

    answer = await desk.decide(execution, "succeeded")

    assert answer["state"] == "running"
    assert states(await bench.attempts(execution)) == ["succeeded", "ready"]
    assert len(await bench.hinted()) == 1
    told = await bench.told(execution)
    assert told[-3:] == ["unblocked", "step_decided", "step_completed"]
    assert (await bench.fact(execution, "step_decided"))["rationale"] == "I looked"
    assert (await bench.fact(execution, "step_completed"))["decided_by_person"]


async def test_failed_ends_the_execution_and_frees_the_resource(bench: Bench, desk: Desk) -> None:
    execution = await unknown(bench)

    answer = await desk.decide(execution, "failed")

    assert (answer["state"], answer["reason"]) == ("failed", "step_failed")
    assert states(await bench.attempts(execution)) == ["failed"]
    assert await bench.lock() is None


async def test_abort_ends_it_and_leaves_the_resource_suspect(bench: Bench, desk: Desk) -> None:
    execution = await unknown(bench)

    answer = await desk.decide(execution, "abort")

    assert answer["state"] == "aborted"
    assert states(await bench.attempts(execution)) == ["unknown"]
    assert await bench.lock() == (execution, "suspect")


async def test_the_answer_is_stored_and_the_same_request_takes_effect_once(bench: Bench, desk: Desk) -> None:
    execution, key = await unknown(bench), new_id()

    first = await desk.decide(execution, "succeeded", key=key)
    again = await desk.decide(execution, "succeeded", key=key)

    assert again == first
    assert (await bench.told(execution)).count("step_decided") == 1
    with pytest.raises(RangerError) as refused:
        await desk.decide(execution, "failed", key=key)
    assert refused.value.reason_code == "request_key_reused"


async def test_a_step_that_is_known_is_not_decided(bench: Bench, desk: Desk) -> None:
    execution = await bench.execution(UNSAFE)

    with pytest.raises(RangerError) as refused:
        await desk.decide(execution, "succeeded")

    assert refused.value.reason_code == "step_not_unknown"
    assert refused.value.data == {
        "step": "one",
        "state": "ready",
        "waiting_for": "",
        "trigger": "decide",
        "target": "succeeded",
    }


async def test_an_unknown_step_of_an_ended_execution_is_not_decided_any_more(bench: Bench, desk: Desk) -> None:
    execution = await unknown(bench)
    await desk.decide(execution, "abort")

    with pytest.raises(RangerError) as refused:
        await desk.decide(execution, "succeeded")

    assert refused.value.reason_code == "execution_ended"
    assert refused.value.data == {"state": "aborted", "trigger": "decide", "target": "succeeded"}
    assert states(await bench.attempts(execution)) == ["unknown"]


async def test_a_decision_says_why(bench: Bench, desk: Desk) -> None:
    execution = await unknown(bench)

    with pytest.raises(RangerError) as refused:
        await desk.decide(execution, "succeeded", rationale=" ")

    assert "rationale" in str(refused.value)


async def test_who_may_only_read_does_not_decide(bench: Bench, desk: Desk) -> None:
    execution = await unknown(bench)

    for who in (Principal("vic", frozenset({TENANT}), frozenset({"viewer"})),):
        with pytest.raises(RangerError) as refused:
            await desk.decide(execution, "succeeded", who=who)
        assert refused.value.reason_code == "policy.role"
    assert (await bench.show(execution))["blocked_reason"] == "unknown"


async def test_a_late_result_after_the_decision_changes_nothing(bench: Bench, desk: Desk) -> None:
    execution = await bench.execution(UNSAFE)
    lost = await bench.running(execution)
    await bench.expire(lost)
    await desk.decide(execution, "failed")

    await bench.settle(lost, outputs={"status": 200})

    assert states(await bench.attempts(execution)) == ["failed"]
    assert (await bench.attempts(execution))[0]["late"] is not None
    assert (await bench.show(execution))["state"] == "failed"
