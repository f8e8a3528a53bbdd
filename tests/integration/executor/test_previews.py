"""A plan says what would happen and what stands in its way, over the bus; nothing of it happens."""

from collections.abc import AsyncIterator
from typing import Any, Final

import nats
import pytest

from libs.common.bus import Bus
from libs.common.errors import RangerError
from libs.common.ids import new_id
from libs.common.policy import Principal
from libs.common.rpc import RpcClient, RpcServer
from services.executor.commands import PlanRunbook
from services.executor.previews import Previews
from services.executor.sources import Sources
from tests.integration.executor.bench import ADA, TENANT, Bench, runbook, step
from tests.integration.executor.neighbours import Neighbours
from tests.integration.executor.samples import QUESTION, RISKY, check
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
VIC: Final = Principal("vic", frozenset({TENANT}), frozenset({"viewer"}))


class Desk:
    """Asks the executor's `plan`."""

    def __init__(self, client: RpcClient, neighbours: Neighbours) -> None:
        self._client = client
        self.neighbours = neighbours

    async def plan(self, runbook_id: str = "mend", *, who: Principal = ADA, **body: Any) -> dict[str, Any]:
        """The answer."""
        question = {"runbook_id": runbook_id, **body}
        return await self._client.ask("executor", "plan", question, principal=who, tenant=TENANT, request_key=new_id())

    async def refused(self, **body: Any) -> RangerError:
        """The refusal."""
        with pytest.raises(RangerError) as error:
            await self.plan(**body)
        return error.value


@pytest.fixture
async def desk(bench: Bench, stack_env: StackEnv) -> AsyncIterator[Desk]:
    """The verb, served as the executor serves it, with neighbours who answer."""
    bus = Bus(stack_env["RR_NATS_URL"], name="executor-test")
    await bus.connect()
    client = RpcClient(bus, timeout=10.0)
    RpcServer(bus, bench.database, "executor").query("plan", PlanRunbook, Previews(Sources(client)).plan)
    await bus.serve()
    neighbours = Neighbours()
    await neighbours.serve(stack_env["RR_NATS_URL"])
    yield Desk(client, neighbours)
    await neighbours.close()
    await bus.close()


async def rows(bench: Bench) -> dict[str, int]:
    """How many rows each table of the executor has, and what its sequences have given out."""
    tables = await bench.database.pool.fetch("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'executor'")
    found = {row["t"]: await bench.database.pool.fetchval(f'SELECT count(*) FROM "{row["t"]}"') for row in tables}
    return found | {"fence": await bench.database.pool.fetchval("SELECT last_value FROM fence")}


async def heard(env: StackEnv) -> tuple[int, int]:
    """How many messages the streams have had, and bytes they hold."""
    client = await nats.connect(env["RR_NATS_URL"])
    try:
        infos = [await client.jetstream().stream_info(name) for name in ("EVENTS", "INGRESS")]
        return sum(info.state.last_seq for info in infos), sum(info.state.bytes for info in infos)
    finally:
        await client.close()


def codes(plan: dict[str, Any], step_id: str | None = None) -> list[tuple[str, str]]:
    """What stands in the way of a step."""
    return [(each["kind"], each["code"]) for each in plan["hindrances"] if each["step"] == step_id]


async def on_incident(bench: Bench, desk: Desk, shard: str = "s-1") -> str:
    """An incident whose alert fires."""
    incident = new_id()
    desk.neighbours.open(incident, shard=shard)
    await bench.fires(incident)
    return incident


async def test_a_plan_changes_nothing_no_row_is_written_and_no_message_is_sent(
    bench: Bench, desk: Desk, stack_env: StackEnv
) -> None:
    incident = await on_incident(bench, desk, shard="s-3")
    desk.neighbours.publish(runbook(check("outputs.status == 200"), QUESTION, RISKY))
    before = await rows(bench), await heard(stack_env), await bench.hinted()

    plan = await desk.plan(incident_id=incident, open_incident=False)

    assert [each["step"] for each in plan["steps"]] == ["look", "ask", "fix"]
    assert (await rows(bench), await heard(stack_env), await bench.hinted()) == before
    assert before[0]["execution"] == before[0]["outbox"] == before[0]["command"] == 0


async def test_the_plan_is_the_one_that_an_execution_then_has(bench: Bench, desk: Desk) -> None:
    spec = runbook(inputs={"shard": {"from": "${{ alert.labels.shard }}", "default": "s-3"}})
    incident = await on_incident(bench, desk, shard="s-3")
    desk.neighbours.publish(spec)

    plan = await desk.plan(incident_id=incident)
    shown = await bench.show(await bench.execution(spec, incident=incident))

    assert plan["inputs"] == {"shard": "s-3"}
    assert plan["alert"] == {"name": "slow", "severity": "high", "firing": True}
    assert plan["hindrances"] == []
    assert (plan["spec_hash"], plan["plan_hash"]) == (shown["spec_hash"], shown["plan_hash"])


async def test_a_lock_that_somebody_holds_is_shown_with_its_holder(bench: Bench, desk: Desk) -> None:
    holder = await bench.execution()
    await bench.running(holder)
    incident = await on_incident(bench, desk)
    desk.neighbours.publish(runbook())

    plan = await desk.plan(incident_id=incident)

    [lock] = plan["locks"]
    assert (lock["resource_id"], lock["steps"], lock["holder"]["execution_id"]) == ("shard", ["fix"], holder)
    assert codes(plan, "fix") == [("waits", "lock")]
    assert holder in plan["hindrances"][0]["text"]


async def test_the_kill_switch_that_holds_is_shown(bench: Bench, desk: Desk) -> None:
    incident = await on_incident(bench, desk)
    desk.neighbours.publish(runbook(check("outputs.status == 200"), step()))
    await bench.switch(engaged=True)

    plan = await desk.plan(incident_id=incident)

    assert plan["kill_switch"]["holds"]
    assert (codes(plan, "look"), codes(plan, "fix")) == ([], [("waits", "kill_switch")])


async def test_an_alert_that_has_ended_leaves_the_change_out(bench: Bench, desk: Desk) -> None:
    incident = await on_incident(bench, desk)
    await bench.ends(incident)
    desk.neighbours.publish(runbook())

    plan = await desk.plan(incident_id=incident)

    assert plan["alert"]["firing"] is False
    assert codes(plan, "fix") == [("skips", "alert_resolved")]


async def test_who_would_be_asked_and_who_may_not_answer_is_shown(bench: Bench, desk: Desk) -> None:
    incident = await on_incident(bench, desk)
    desk.neighbours.publish(runbook(QUESTION, RISKY))

    plan = await desk.plan(incident_id=incident)

    of_plan, of_action = plan["approvals"]
    assert (of_plan["of"], of_plan["approvers"], of_plan["not_by"]) == ("plan", ["lead"], "ada")
    assert (of_action["of"], of_action["prompt"]) == ("action", "Reroute away from slow?")
    execution = await bench.execution(runbook(RISKY, id="same"), incident=incident)
    assert (await bench.fact(execution, "blocked"))["action_hash"] == of_action["action_hash"]
    assert codes(plan, "fix") == [("waits", "approval")]


async def test_policy_is_asked_for_the_start_and_for_each_claim(desk: Desk) -> None:
    desk.neighbours.publish(runbook(check("outputs.status == 200"), verify=None))

    plan = await desk.plan(who=VIC)

    assert not plan["policy"]["start"]["allow"]
    assert codes(plan) == [("refused", "policy.role")]
    assert plan["steps"][0]["policy"]["reason"] == "role"
    assert (await desk.plan())["steps"][0]["policy"]["allow"]


async def test_what_cannot_be_planned_is_refused_with_every_reason(desk: Desk) -> None:
    desk.neighbours.publish(runbook(inputs={"shard": {}, "depth": {"type": "integer"}}))

    error = await desk.refused(inputs={"depth": "three"})

    assert (error.reason_code, error.fix) == ("plan_refused", "`rangerctl runbook show` lists the inputs.")
    for reason in ("inputs.shard", "inputs.depth", "verify"):
        assert reason in error.detail


async def test_a_template_that_never_has_a_value_is_told_before_anything_runs(bench: Bench, desk: Desk) -> None:
    incident = await on_incident(bench, desk)
    desk.neighbours.publish(runbook(step(resource="shard/${{ alert.labels.zone }}")))

    plan = await desk.plan(incident_id=incident)

    assert codes(plan, "fix") == [("fails", "render_refused")]
    assert "alert.labels.zone" in plan["hindrances"][0]["text"]


async def test_another_tenants_lock_and_nobodys_runbook_are_not_seen(bench: Bench, desk: Desk) -> None:
    await bench.database.pool.execute(
        "INSERT INTO resource_lock (tenant_id, resource_id, execution_id, fence, state, lease_until)"
        " VALUES ('acme', 'shard', gen_random_uuid(), 1, 'held', clock_timestamp())"
    )
    incident = await on_incident(bench, desk)
    assert (await desk.refused(incident_id=incident)).reason_code == "runbook_not_found"
    desk.neighbours.publish(runbook())

    assert (await desk.plan(incident_id=incident))["locks"][0]["holder"] is None
