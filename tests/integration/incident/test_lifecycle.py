"""Incidents follow executions and people, and answer for it over the bus."""

from datetime import datetime, timedelta

import pytest

from libs.common.contracts.execution import ExecutionAborted, ExecutionCompleted, ExecutionFailed, ExecutionStarted
from libs.common.errors import Conflict, Denied, InvalidInput, NotFound
from libs.common.ids import new_id
from libs.common.policy import Principal
from services.incident.sla import MINUTES
from tests.integration.incident.room import START, VIEWER, Instance, Room, event

pytestmark = pytest.mark.stack

STRANGER = Principal("sam", frozenset({"acme"}), frozenset({"operator"}))


@pytest.fixture
async def instance(room: Room) -> Instance:
    return await room.start("incident-1")


@pytest.fixture
async def incident(room: Room, instance: Instance) -> str:
    """An open incident, new."""
    assert instance.process.returncode is None
    await room.post(event(1, annotations={"runbook": "x"}))
    [(_, created)] = await room.told("incident.created")
    incident_id: str = created.incident_id
    return incident_id


def started(incident: str, execution: str = "e1") -> ExecutionStarted:
    return ExecutionStarted(execution_id=execution, incident_id=incident, runbook_id="r1", plan_hash="00")


def completed(incident: str, execution: str = "e1") -> ExecutionCompleted:
    return ExecutionCompleted(execution_id=execution, incident_id=incident, runbook_id="r1", verified="probe")


async def test_it_follows_an_execution_and_the_alert_s_end_resolves_it(room: Room, incident: str) -> None:
    await room.execution(started(incident), 2)
    await room.execution(completed(incident), 7)
    await room.told("incident.created", "incident.status_changed", "incident.status_changed")

    await room.post(event(2, status="resolved"))

    facts = await room.told(
        "incident.created",
        "incident.status_changed",
        "incident.status_changed",
        "incident.alert_resolved",
        "incident.status_changed",
    )
    assert [fact.status for e, fact in facts if e.type == "incident.status_changed"] == [
        "mitigating",
        "monitoring",
        "resolved",
    ]
    assert [envelope.aggregate_version for envelope, _ in facts] == [1, 2, 3, 4, 5]
    assert facts[1][0].execution_id == "e1"
    shown = await room.ask("get", incident_id=incident)
    assert [(e["execution_id"], e["runbook_id"], e["state"]) for e in shown["executions"]] == [
        ("e1", "r1", "completed")
    ]
    assert shown["flags"] == {"remediation_failed": None}


async def test_an_execution_that_did_not_help_is_a_flag(room: Room, incident: str) -> None:
    await room.execution(started(incident), 2)
    failed = ExecutionFailed(execution_id="e1", incident_id=incident, runbook_id="r1", reason="verify: still slow")
    await room.execution(failed, 3)

    facts = await room.told("incident.created", "incident.status_changed", "incident.remediation_failed")

    assert facts[-1][1].reason == "verify: still slow"
    shown = await room.ask("get", incident_id=incident)
    assert shown["status"] == "mitigating"
    assert shown["flags"] == {"remediation_failed": {"execution_id": "e1", "reason": "verify: still slow"}}


async def test_a_dry_run_is_nothing_that_happens_to_an_incident(room: Room, incident: str) -> None:
    about = {"execution_id": "e1", "incident_id": incident, "runbook_id": "mend", "dry_run": True}
    before = await room.ask("get", incident_id=incident)

    await room.execution(started(incident).model_copy(update={"dry_run": True}), 2)
    await room.execution(ExecutionFailed.model_validate({**about, "reason": "step_failed"}), 3)
    await room.settled()

    assert await room.ask("get", incident_id=incident) == before


async def test_an_older_fact_of_an_execution_changes_nothing(room: Room, incident: str) -> None:
    aborted = ExecutionAborted(execution_id="e1", incident_id=incident, runbook_id="r1", rationale="wrong host")
    await room.execution(aborted, 5)
    await room.told("incident.created", "incident.remediation_failed")

    await room.execution(started(incident), 2)
    await room.settled()

    assert await room.subjects() == ["incident.created", "incident.remediation_failed"]
    assert (await room.ask("get", incident_id=incident))["executions"][0]["state"] == "aborted"


async def test_facts_about_nobody_s_incident_are_let_pass(room: Room, incident: str) -> None:
    await room.execution(started(""), 2)
    await room.execution(started("not-an-id", "e2"), 2)
    await room.execution(started(new_id(), "e3"), 2)
    await room.execution(started(incident, "e4"), 2, tenant="acme")
    await room.settled()

    assert await room.subjects() == ["incident.created"]
    assert await room.rows("SELECT * FROM dead_letter") == []


async def test_a_person_s_move_is_told_with_who_and_why(room: Room, incident: str) -> None:
    answer = await room.ask("transition", incident_id=incident, trigger="resolve", rationale="  false alarm ")

    assert (answer["incident_id"], answer["previous"], answer["status"]) == (incident, "new", "resolved")
    assert (answer["version"], answer["rationale_required"]) == (2, ["close", "severity"])
    [_, (envelope, fact)] = await room.told("incident.created", "incident.status_changed")
    assert (envelope.actor, fact.trigger, fact.rationale) == ("pat", "resolve", "false alarm")


async def test_a_repeated_request_is_answered_from_store_and_a_reused_key_is_refused(room: Room, incident: str) -> None:
    first = await room.ask("transition", key="k1", incident_id=incident, trigger="acknowledge")

    assert await room.ask("transition", key="k1", incident_id=incident, trigger="acknowledge") == first
    with pytest.raises(Conflict) as refused:
        await room.ask("transition", key="k1", incident_id=incident, trigger="mitigate")

    assert refused.value.reason_code == "request_key_reused"
    await room.told("incident.created", "incident.status_changed")


async def test_refused_moves_change_nothing_and_say_why(room: Room, incident: str) -> None:
    with pytest.raises(Conflict) as undefined:
        await room.ask("transition", incident_id=incident, trigger="close", rationale="done")
    with pytest.raises(Conflict) as unexplained:
        await room.ask("transition", incident_id=incident, trigger="resolve")
    with pytest.raises(InvalidInput):
        await room.ask("transition", incident_id=incident, trigger="alert_ended", rationale="as if")
    with pytest.raises(InvalidInput):
        await room.ask("transition", incident_id=incident, trigger="resolve", rationale="a\x00b")
    with pytest.raises(Denied):
        await room.ask("transition", who=VIEWER, incident_id=incident, trigger="acknowledge")

    assert undefined.value.reason_code == "undefined_move"
    assert (undefined.value.data["status"], undefined.value.data["target"]) == ("new", "closed")
    assert unexplained.value.reason_code == "rationale_missing"
    await room.settled()
    assert await room.subjects() == ["incident.created", "incident.action_denied"]


async def test_missing_and_invisible_are_the_same_answer(room: Room, incident: str) -> None:
    missing = new_id()
    refusals = []
    for who, tenant, incident_id in [
        (STRANGER, "default", incident),
        (STRANGER, "acme", incident),
        (STRANGER, "default", missing),
    ]:
        for verb, more in [("get", {}), ("transition", {"trigger": "acknowledge"})]:
            with pytest.raises(NotFound) as refused:
                await room.ask(verb, who=who, tenant=tenant, incident_id=incident_id, **more)
            refusals.append(refused.value.to_wire() | {"detail": refused.value.detail.replace(incident_id, "ID")})

    assert all(refusal == refusals[0] for refusal in refusals)
    with pytest.raises(Denied):
        await room.ask("list", who=STRANGER)


async def test_an_incident_is_shown_whole(room: Room, incident: str) -> None:
    shown = await room.ask("get", who=VIEWER, incident_id=incident)

    [alert] = shown["alerts"]
    assert (alert["status"], alert["occurrences"], alert["starts_at"]) == (
        "firing",
        1,
        START.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
    )
    assert shown["labels"] == {"service": "evidence", "zone": "a"}
    assert shown["annotations"] == {"runbook": "x"}
    assert (shown["severity"], shown["status"], shown["version"], shown["firing"]) == ("high", "new", 1, 1)
    assert [entry["severity"] for entry in shown["severity_history"]] == ["high"]
    assert (shown["owner"], shown["tags"], shown["executions"], shown["runbooks"]) == (None, [], [], [])
    deadline = datetime.fromisoformat(shown["sla_deadline"])
    assert deadline - datetime.fromisoformat(shown["opened_at"]) == timedelta(minutes=MINUTES["high"])
    assert shown["rationale_required"] == ["resolve", "severity"]


async def test_pages_go_from_the_newest_to_the_oldest_and_end(room: Room, incident: str) -> None:
    await room.post(*(event(number, fingerprint=f"f{number}") for number in range(6)))
    await room.told(*["incident.created"] * 7)
    await room.ask("transition", incident_id=incident, trigger="acknowledge")

    seen, after = [], None
    while True:
        page = await room.ask("list", limit=3, **({"after": after} if after else {}))
        seen.append([item["incident_id"] for item in page["items"]])
        after = page["next"]
        if after is None:
            break

    flat = [incident_id for page in seen for incident_id in page]
    assert [len(page) for page in seen] == [3, 3, 1]
    assert flat == sorted(flat, reverse=True)
    assert flat[-1] == incident
    known = await room.ask("list", status="acknowledged")
    assert [item["incident_id"] for item in known["items"]] == [incident]


async def test_times_to_acknowledge_and_to_repair_are_measured(room: Room, instance: Instance, incident: str) -> None:
    await room.ask("transition", incident_id=incident, trigger="acknowledge")
    await room.ask("transition", incident_id=incident, trigger="resolve", rationale="by hand")

    assert await instance.metric("incidents_mtta_seconds_count") == 1
    assert await instance.metric("incidents_mttr_seconds_count") == 1
