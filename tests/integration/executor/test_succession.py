"""What follows a settled step is claimed with it where nothing can stand against that, and nowhere else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from libs.common.clock import utc_now
from libs.common.database import Uuid
from libs.common.policy import Principal
from services.executor.commands import BreakLock, PauseExecution
from services.executor.model import Attempt, Settlement
from services.executor.settlement import Settlements
from services.executor.succession import Succession
from tests.integration.executor.bench import ADA, Bench, runbook, states, step

pytestmark = pytest.mark.stack

READ = {"effect": "read"}


async def settled(bench: Bench, attempt: Attempt, *, going_on: bool = True, **more: Any) -> Attempt | None:
    """Settle an attempt with room for the next; what was claimed with it."""
    succession = Succession(bench.settings, worker_id="worker-1")
    settlements = Settlements(bench.database, bench.outbox, clock=utc_now, succession=succession)
    hints, following = await settlements.settle([Settlement(attempt, "succeed", going_on=going_on, **more)])
    await bench.hints.send(hints)
    assert following.keys() <= {attempt.action_id}
    return following.get(attempt.action_id)


async def test_the_next_step_runs_with_the_commit_that_settled_the_one_before(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two"), step("three")))
    first = await bench.running(execution)
    await bench.hinted()

    second = await settled(bench, first)

    assert second is not None
    assert second.path == "two"
    assert second.fence > first.fence
    assert await bench.hinted() == []
    _, row = await bench.attempts(execution)
    assert (row["state"], row["worker_id"], row["fence"]) == ("running", "worker-1", second.fence)
    assert row["lease_until"] > row["started_at"]
    assert row["kill_epoch"] is not None
    third = await settled(bench, second)
    assert third is not None
    assert await settled(bench, third) is None
    assert (await bench.told(execution)).count("step_completed") == 3


async def test_it_is_the_same_as_what_a_claim_would_have_brought(bench: Bench) -> None:
    spec = runbook(step("one"), step("two"))
    at_once, in_turn = await bench.execution(spec), await bench.execution(spec, incident="")
    first = await bench.running(at_once)
    claimed = await settled(bench, first)
    assert claimed is not None
    await settled(bench, claimed, going_on=False)
    await bench.database.pool.execute("DELETE FROM resource_lock")
    await bench.settle(await bench.running(in_turn))
    await bench.settle(await bench.running(in_turn))

    told = (
        "path",
        "visit",
        "attempt",
        "action",
        "effect",
        "action_hash",
        "rendered",
        "resource_id",
        "state",
        "worker_id",
    )
    one, other = [[{key: row[key] for key in told} for row in await bench.attempts(e)] for e in (at_once, in_turn)]
    assert one == other
    assert await bench.told(at_once) == await bench.told(in_turn)


async def test_without_room_the_next_step_is_hinted(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await bench.hinted()

    assert await settled(bench, running, going_on=False) is None

    [ready] = await bench.ready(execution)
    assert await bench.hinted() == [ready.action_id]


@pytest.mark.parametrize(
    "following",
    [
        {"effect": "unsafe"},
        {"resource": "another"},
        {"requires_firing": True},
        {"approval": {"prompt": "Go on?", "expires": "5m"}},
        {"target": {"tags": {"url": "http://127.0.0.1:9/tags"}}},
    ],
    ids=["nobody may repeat it", "a lock it does not hold", "its alert", "an approval", "tags"],
)
async def test_what_takes_more_than_a_yes_is_left_to_a_claim(bench: Bench, following: dict[str, Any]) -> None:
    execution = await bench.execution(runbook(step("one"), step("two", **following)))

    assert await settled(bench, await bench.running(execution)) is None

    assert "running" not in states(await bench.attempts(execution))


async def test_the_kill_switch_holds_back_what_would_follow(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await bench.switch(engaged=True)

    assert await settled(bench, running) is None

    assert await bench.claim(execution) is None
    assert (await bench.show(execution))["blocked_reason"] == "kill_switch"


async def test_a_toggle_and_a_settlement_take_turns(bench: Bench) -> None:
    executions = [
        await bench.execution(runbook(step("one", resource=f"r{n}"), step("two", resource=f"r{n}"))) for n in range(8)
    ]
    running = [await bench.running(execution) for execution in executions]

    found, _ = await asyncio.gather(
        asyncio.gather(*(settled(bench, attempt) for attempt in running)), bench.switch(engaged=True)
    )

    assert await bench.database.pool.fetchval("SELECT count(*) FROM kill_switch WHERE engaged") == 1
    rows = await bench.database.pool.fetch("SELECT kill_epoch FROM action_log WHERE path = 'two' AND state = 'running'")
    assert [row["kill_epoch"] for row in rows] == [0 for attempt in found if attempt is not None]


async def test_a_broken_lock_is_not_taken_again_in_passing(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await bench.tell("break_lock", BreakLock(resource_id="shard", rationale="drill"))

    assert await settled(bench, running) is None


async def test_a_paused_execution_does_not_go_on(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await bench.tell("pause", PauseExecution(execution_id=execution, rationale="drill"))

    assert await settled(bench, running) is None


async def test_an_action_that_was_bent_is_left_to_a_claim_which_says_so(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await bench.database.pool.execute(
        "CREATE FUNCTION bend() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.action_hash := 'bent'; RETURN NEW; END $$"
    )
    await bench.database.pool.execute(
        "CREATE TRIGGER bend BEFORE INSERT ON action_log FOR EACH ROW EXECUTE FUNCTION bend()"
    )

    assert await settled(bench, running) is None

    assert await bench.claim(execution) is None
    assert (await bench.attempts(execution))[-1]["error_code"] == "action_drift"


async def began(bench: Bench, execution: str, who: Principal, *, environment: str = "", clearance: int = 0) -> None:
    """Let the execution be one that `who` began, about something that is marked so."""
    await bench.database.pool.execute(
        "UPDATE execution SET initiator = $2, rights = $3::jsonb, environment = $4, clearance = $5"
        " WHERE execution_id = $1",
        Uuid(execution),
        who.actor,
        orjson.dumps(who.to_wire()).decode(),
        environment,
        clearance,
    )


@pytest.mark.parametrize(
    ("who", "marks", "reason"),
    [
        (replace(ADA, roles=frozenset({"viewer"})), {}, "role"),
        (replace(ADA, tenants=frozenset({"another"})), {}, "tenant"),
        (replace(ADA, environments=frozenset({"staging"})), {"environment": "production"}, "environment"),
        (replace(ADA, clearance=1), {"clearance": 2}, "clearance"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_policy_refuses_whoever_began_it_is_left_to_a_claim_which_says_so(
    bench: Bench, who: Principal, marks: dict[str, Any], reason: str
) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await began(bench, execution, who, **marks)
    await bench.hinted()

    assert await settled(bench, running) is None

    [ready] = await bench.ready(execution)
    assert (ready.path, await bench.hinted()) == ("two", [ready.action_id])
    assert await bench.claim(execution) is None
    assert (await bench.attempts(execution))[-1]["error_code"] == f"policy.{reason}"


async def test_a_risk_that_takes_evidence_is_left_to_a_claim_which_says_so(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await began(bench, execution, ADA)
    await bench.database.pool.execute(
        "CREATE FUNCTION heighten() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.risk := 'high'; RETURN NEW; END $$"
    )
    await bench.database.pool.execute(
        "CREATE TRIGGER heighten BEFORE INSERT ON action_log FOR EACH ROW EXECUTE FUNCTION heighten()"
    )

    assert await settled(bench, running) is None

    assert await bench.claim(execution) is None
    assert (await bench.attempts(execution))[-1]["error_code"].startswith("policy.")


async def test_what_policy_allows_whoever_began_it_follows_at_once(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    who = replace(ADA, environments=frozenset({"production"}), clearance=2)
    await began(bench, execution, who, environment="production", clearance=2)

    second = await settled(bench, running)

    assert second is not None
    assert second.path == "two"


async def test_a_late_result_begins_nothing(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    old = await bench.running(execution)
    await bench.expire(old)
    await bench.running(execution, "worker-2")

    assert await settled(bench, old) is None


async def test_its_lease_runs_out_like_any_other(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    following = await settled(bench, await bench.running(execution))
    assert following is not None

    await bench.expire(following)

    rows = await bench.attempts(execution)
    assert [(row["path"], row["state"]) for row in rows] == [("one", "succeeded"), ("two", "failed"), ("two", "ready")]
    assert rows[1]["idem_key"] == rows[2]["idem_key"]
    assert (
        await bench.database.pool.fetchval(
            "SELECT error_code FROM action_log WHERE action_id = $1", Uuid(following.action_id)
        )
        == "lease_lost"
    )
