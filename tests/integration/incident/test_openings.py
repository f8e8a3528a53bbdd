"""An execution that was started without an incident opens one and resolves it."""

import pytest

from libs.common.contracts.execution import (
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPlanned,
    ExecutionStarted,
)
from libs.common.ids import derived_id, new_id
from tests.integration.incident.room import Room, event

pytestmark = pytest.mark.stack


class Run:
    """The facts of one execution that opens its incident."""

    def __init__(self) -> None:
        self.execution_id = new_id()
        self.incident_id = derived_id("incident", self.execution_id)
        self.names = {
            "execution_id": self.execution_id,
            "incident_id": self.incident_id,
            "runbook_id": "restart-storage",
        }
        self.started = ExecutionStarted(**self.names, plan_hash="00")
        self.completed = ExecutionCompleted(**self.names, verified="probe")
        self.failed = ExecutionFailed(**self.names, reason="verify said no")
        self.planned = ExecutionPlanned(
            **self.names,
            runbook_version=1,
            spec_hash="00",
            plan_hash="00",
            steps=["a"],
            opens_incident=True,
            title="Storage restart executing",
            severity="critical",
        )


async def test_it_opens_is_mitigated_and_resolved_by_its_execution(room: Room) -> None:
    await room.start("incident-1")
    run = Run()

    for version, fact in ((1, run.planned), (2, run.started), (5, run.completed)):
        await room.execution(fact, version)

    facts = await room.told("incident.created", "incident.status_changed", "incident.status_changed")
    assert [envelope.aggregate_version for envelope, _ in facts] == [1, 2, 3]
    assert {envelope.aggregate_id for envelope, _ in facts} == {run.incident_id}
    assert {envelope.correlation for envelope, _ in facts} == {run.execution_id}
    created, resolved = facts[0][1], facts[2][1]
    assert (created.title, created.severity, created.firing) == ("Storage restart executing", "critical", False)
    assert (resolved.status, resolved.trigger) == ("resolved", "execution_completed")
    assert resolved.rationale == f"opened by execution {run.execution_id}, which completed"
    shown = await room.ask("get", incident_id=run.incident_id)
    assert shown["executions"][0]["execution_id"] == run.execution_id
    assert [(item["runbook_id"], item["linked_by"]) for item in shown["runbooks"]] == [("restart-storage", None)]
    closed = await room.ask("transition", incident_id=run.incident_id, trigger="close")
    assert closed["status"] == "closed"


async def test_a_failed_one_stays_open_with_the_flag(room: Room) -> None:
    await room.start("incident-1")
    run = Run()

    for version, fact in ((1, run.planned), (2, run.started), (5, run.failed)):
        await room.execution(fact, version)

    await room.told("incident.created", "incident.status_changed", "incident.remediation_failed")
    shown = await room.ask("get", incident_id=run.incident_id)
    assert (shown["status"], shown["flags"]["remediation_failed"]["reason"]) == ("mitigating", "verify said no")


async def test_facts_that_overtake_the_plan_are_kept_until_it_comes(room: Room) -> None:
    """Two processes share the stream: one may have the plan in hand while the other is through with the end."""
    await room.start("incident-1")
    run = Run()
    await room.execution(run.started, 2)
    await room.execution(run.completed, 5)
    await room.settled()
    assert await room.subjects() == []

    await room.execution(run.planned, 1)

    facts = await room.told("incident.created", "incident.status_changed")
    assert facts[-1][1].status == "resolved"
    assert await room.rows("SELECT * FROM dead_letter") == []


async def test_many_by_several_processes_are_each_opened_once_and_resolved(room: Room) -> None:
    for number in range(2):
        await room.start(f"incident-{number}", RR_BATCH="7")
    runs = [Run() for _ in range(60)]

    for version, name in ((1, "planned"), (2, "started"), (5, "completed"), (1, "planned")):
        for run in runs:
            await room.execution(getattr(run, name), version)
    await room.settled()

    found = await room.rows("SELECT incident_id::text, status, version FROM incident")
    assert {row["incident_id"] for row in found} == {run.incident_id for run in runs}
    assert {row["status"] for row in found} == {"resolved"}
    told = [(envelope.aggregate_id, envelope.aggregate_version) for envelope, _ in await room.facts()]
    assert len(told) == len(set(told)) == sum(row["version"] for row in found)


async def test_an_alert_of_that_name_is_another_problem(room: Room) -> None:
    await room.start("incident-1")
    run = Run()
    await room.execution(run.planned, 1)
    await room.told("incident.created")

    await room.post(event(1, fingerprint=f"execution/{run.execution_id}"))
    await room.settled()

    assert await room.subjects() == ["incident.created"]
    [letter] = await room.rows("SELECT reason FROM dead_letter")
    assert "fingerprint" in letter["reason"]
