"""A person begins a runbook, over the bus: for an incident, for one that it opens, or for none."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.bus import Bus
from libs.common.clock import utc_now
from libs.common.errors import RangerError
from libs.common.ids import derived_id, new_id
from libs.common.policy import Principal
from libs.common.rpc import RpcClient, RpcServer
from libs.runbook.spec import Runbook
from services.executor.commands import StartExecution
from services.executor.planning import Planner
from services.executor.sources import Sources
from services.executor.starting import Starting
from tests.integration.executor.bench import ADA, TENANT, Bench, runbook, step
from tests.integration.executor.neighbours import Neighbours
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack


class Desk:
    """Asks the executor's `execute`."""

    def __init__(self, client: RpcClient, neighbours: Neighbours) -> None:
        self._client = client
        self.neighbours = neighbours

    async def start(self, runbook_id: str = "mend", *, key: str = "", who: Principal = ADA, **body: Any) -> Any:
        """The answer."""
        question = {"runbook_id": runbook_id, **body}
        return await self._client.ask(
            "executor", "execute", question, principal=who, tenant=TENANT, request_key=key or new_id()
        )

    async def refused(self, **body: Any) -> RangerError:
        """The refusal."""
        with pytest.raises(RangerError) as error:
            await self.start(**body)
        return error.value


@pytest.fixture
async def desk(bench: Bench, stack_env: StackEnv) -> AsyncIterator[Desk]:
    """The verb, served as the executor serves it, with neighbours who answer."""
    bus = Bus(stack_env["RR_NATS_URL"], name="executor-test")
    await bus.connect()
    client = RpcClient(bus, timeout=10.0)
    sources = Sources(client)
    starting = Starting(Planner(bench.outbox, bench._fetch, utc_now), sources, bench.hints)
    server = RpcServer(bus, bench.database, "executor")
    server.command("execute", StartExecution, starting.start, bench.hints.flush)
    await bus.serve()
    neighbours = Neighbours()
    await neighbours.serve(stack_env["RR_NATS_URL"])
    yield Desk(client, neighbours)
    await neighbours.close()
    await bus.close()


def looks(*, url: str = "http://127.0.0.1:9/look", **more: Any) -> Runbook:
    """A runbook that only reads, and needs no alert."""
    return runbook(step("look", effect="read") | {"with": {"method": "GET", "url": url}}, verify=None, **more)


async def executions(bench: Bench) -> int:
    """How many there are."""
    count: int = await bench.database.pool.fetchval("SELECT count(*) FROM execution")
    return count


async def test_a_runbook_that_needs_no_incident_is_begun_by_its_initiator(bench: Bench, desk: Desk) -> None:
    desk.neighbours.publish(looks())

    answer = await desk.start()

    shown = await bench.show(answer["execution_id"])
    assert (shown["state"], shown["initiator"], shown["incident_id"]) == ("running", "ada", "")
    assert (answer["incident_id"], answer["runbook_version"]) == ("", 1)
    assert (await bench.told(answer["execution_id"])) == ["planned", "started"]
    assert not (await bench.fact(answer["execution_id"], "planned"))["opens_incident"]
    assert len(await bench.hinted()) == 1


async def test_the_newest_version_is_begun_unless_one_is_named(bench: Bench, desk: Desk) -> None:
    desk.neighbours.publish(looks(), 1)
    desk.neighbours.publish(looks(name="Mend better"), 2)

    newest, named = await desk.start(), await desk.start(version=1)

    assert (newest["runbook_version"], named["runbook_version"]) == (2, 1)
    hashes = {(await bench.show(each["execution_id"]))["spec_hash"] for each in (newest, named)}
    assert len(hashes) == 2


async def test_inputs_that_are_given_are_in_the_plan(bench: Bench, desk: Desk) -> None:
    inputs = {"shard": {"type": "string"}, "depth": {"type": "integer", "default": 3}}
    desk.neighbours.publish(looks(url="http://127.0.0.1:9/${{ inputs.shard }}", inputs=inputs))

    execution = (await desk.start(inputs={"shard": "s-7"}))["execution_id"]

    assert (await bench.show(execution))["inputs"] == {"shard": "s-7", "depth": 3}
    [attempt] = await bench.ready(execution)
    assert b"http://127.0.0.1:9/s-7" in attempt.rendered


async def test_what_cannot_be_planned_is_refused_with_every_reason_and_nothing_is_stored(
    bench: Bench, desk: Desk
) -> None:
    inputs = {"shard": {"type": "string"}, "depth": {"type": "integer"}}
    desk.neighbours.publish(runbook(step(requires_firing=True), inputs=inputs))

    error = await desk.refused(inputs={"depth": "three", "colour": "red"})

    assert error.reason_code == "plan_refused"
    for reason in ("inputs.shard", "inputs.depth", "inputs.colour", "verify", "steps.fix"):
        assert reason in error.detail
    assert await executions(bench) == 0


async def test_for_an_incident_the_facts_are_those_of_its_alert(bench: Bench, desk: Desk) -> None:
    incident = new_id()
    desk.neighbours.open(incident, shard="s-3")
    desk.neighbours.publish(runbook(inputs={"shard": {"from": "${{ alert.labels.shard }}"}}))
    await bench.fires(incident)

    answer = await desk.start(incident_id=incident)

    shown = await bench.show(answer["execution_id"])
    assert (answer["incident_id"], shown["incident_id"], shown["inputs"]) == (incident, incident, {"shard": "s-3"})
    [attempt] = await bench.ready(answer["execution_id"])
    assert attempt.requires_firing
    await bench.settle(await bench.running(answer["execution_id"]))
    await bench.ends(incident)
    assert (await bench.show(answer["execution_id"]))["reason"] == "alert_resolved"


async def test_an_incident_without_an_alert_is_no_alert(bench: Bench, desk: Desk) -> None:
    incident = new_id()
    desk.neighbours.open(incident, alerts=0)
    desk.neighbours.publish(looks())
    assert (await desk.start(incident_id=incident))["incident_id"] == incident

    desk.neighbours.publish(runbook(), 2)
    assert (await desk.refused(incident_id=incident)).reason_code == "plan_refused"
    assert await executions(bench) == 1


@pytest.mark.parametrize(("tags", "body"), [((), {"open_incident": True}), (("critical",), {})])
async def test_an_incident_is_opened_when_asked_for_or_when_the_runbook_is_critical(
    bench: Bench, desk: Desk, tags: tuple[str, ...], body: dict[str, Any]
) -> None:
    desk.neighbours.publish(looks(tags=tags, risk="medium"))

    answer = await desk.start(**body)

    planned = await bench.fact(answer["execution_id"], "planned")
    assert answer["incident_id"] == derived_id("incident", answer["execution_id"])
    assert (planned["opens_incident"], planned["incident_id"]) == (True, answer["incident_id"])
    assert (planned["title"], planned["severity"]) == ("Mend", "critical" if tags else "medium")


async def test_a_critical_runbook_for_an_incident_opens_no_other(bench: Bench, desk: Desk) -> None:
    incident = new_id()
    desk.neighbours.open(incident)
    desk.neighbours.publish(looks(tags=("critical",)))

    answer = await desk.start(incident_id=incident)

    assert answer["incident_id"] == incident
    assert not (await bench.fact(answer["execution_id"], "planned"))["opens_incident"]


async def test_the_same_request_begins_one_execution(bench: Bench, desk: Desk) -> None:
    desk.neighbours.publish(looks())
    key = new_id()

    first, again = await desk.start(key=key), await desk.start(key=key)

    assert again == first
    assert await executions(bench) == 1
    assert (await desk.refused(key=key, open_incident=True)).reason_code == "request_key_reused"


async def test_what_the_neighbours_refuse_is_refused_and_may_succeed_later_with_the_same_key(
    bench: Bench, desk: Desk
) -> None:
    key = new_id()
    assert (await desk.refused(key=key)).reason_code == "runbook_not_found"
    desk.neighbours.publish(looks())
    assert (await desk.refused(incident_id=new_id())).reason_code == "incident_not_found"
    assert await executions(bench) == 0

    assert (await desk.start(key=key))["runbook_version"] == 1


async def test_who_may_only_read_begins_nothing(bench: Bench, desk: Desk) -> None:
    desk.neighbours.publish(looks())
    vic = Principal("vic", frozenset({TENANT}), frozenset({"viewer"}))

    assert (await desk.refused(who=vic)).reason_code == "policy.role"
    assert await executions(bench) == 0
