"""What people say of incidents over the bus: open, judge, assign, link; and who may not."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.common.errors import Conflict, Denied, InvalidInput, NotFound
from libs.common.ids import new_id
from libs.common.policy import Principal
from services.incident.sla import MINUTES
from tests.integration.incident.room import VIEWER, Room, event

pytestmark = pytest.mark.stack

STRANGER = Principal("sam", frozenset({"acme"}), frozenset({"operator"}))
JUDGEMENTS: list[tuple[str, dict[str, Any]]] = [
    ("severity", {"severity": "low", "rationale": "one shard only"}),
    ("owner", {"owner": "pat"}),
    ("link_runbook", {"runbook_id": "restart-storage"}),
]


@pytest.fixture
async def incident(room: Room) -> str:
    """An incident that a person opened, with a deadline of minutes in its service's settings."""
    await room.start("incident-1", RR_SLA_MINUTES='{"high": 30}')
    answer = await room.ask("create", title="  Disk is loud ", severity="high", description="It hums.", tags=["disk"])
    incident_id: str = answer["incident_id"]
    return incident_id


def allowed(shown: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(shown["sla_deadline"]) - datetime.fromisoformat(shown["opened_at"])


async def test_an_incident_without_an_alert_is_opened_and_shown(room: Room, incident: str) -> None:
    [(envelope, fact)] = await room.told("incident.created")
    shown = await room.ask("get", incident_id=incident)

    assert (envelope.actor, envelope.tenant, envelope.incident_id) == ("pat", "default", incident)
    assert (fact.title, fact.fingerprint, fact.alert_id, fact.firing) == ("Disk is loud", "", "", False)
    assert (shown["status"], shown["severity"], shown["owner"], shown["tags"]) == ("new", "high", None, ["disk"])
    assert (shown["description"], shown["alerts"], shown["rationale_required"]) == (
        "It hums.",
        [],
        ["resolve", "severity"],
    )
    assert allowed(shown) == timedelta(minutes=30)
    assert [entry["by"] for entry in shown["severity_history"]] == ["pat"]


async def test_people_open_as_many_alike_as_they_ask_for_and_one_a_request_key(room: Room, incident: str) -> None:
    first = await room.ask("create", key="k1", title="Disk is loud", severity="high")
    again = await room.ask("create", key="k1", title="Disk is loud", severity="high")
    with pytest.raises(Conflict):
        await room.ask("create", key="k1", title="Disk is loud", severity="low")

    assert again == first
    assert first["incident_id"] != incident
    await room.told("incident.created", "incident.created")


async def test_a_judgement_is_told_once_with_who_and_why(room: Room, incident: str) -> None:
    answers = [await room.ask(verb, incident_id=incident, **body) for verb, body in JUDGEMENTS]
    again = [await room.ask(verb, incident_id=incident, **body) for verb, body in JUDGEMENTS]

    facts = await room.told(
        "incident.created", "incident.severity_changed", "incident.owner_changed", "incident.runbook_linked"
    )
    assert [answer["changed"] for answer in (*answers, *again)] == [True] * 3 + [False] * 3
    assert [envelope.aggregate_version for envelope, _ in facts] == [1, 2, 3, 4]
    assert {envelope.actor for envelope, _ in facts} == {"pat"}
    (_, changed), (_, owned), (_, linked) = facts[1:]
    assert (changed.previous, changed.severity, changed.rationale) == ("high", "low", "one shard only")
    assert (owned.previous, owned.owner, linked.runbook_id) == ("", "pat", "restart-storage")
    shown = await room.ask("get", incident_id=incident)
    assert changed.sla_deadline == shown["sla_deadline"]
    assert allowed(shown) == timedelta(minutes=MINUTES["low"])
    assert (shown["severity"], shown["owner"]) == ("low", "pat")
    assert [(entry["severity"], entry["by"]) for entry in shown["severity_history"]] == [
        ("high", "pat"),
        ("low", "pat"),
    ]
    assert shown["severity_history"][-1]["rationale"] == "one shard only"
    assert [(item["runbook_id"], item["linked_by"]) for item in shown["runbooks"]] == [("restart-storage", "pat")]
    assert (await room.ask("owner", incident_id=incident, owner=None))["owner"] is None


async def test_a_judgement_has_a_reason_and_bounds(room: Room, incident: str) -> None:
    refused: list[tuple[str, dict[str, Any]]] = [
        ("severity", {"severity": "low"}),
        ("severity", {"severity": "low", "rationale": "   "}),
        ("severity", {"severity": "terrible", "rationale": "because"}),
        ("owner", {}),
        ("owner", {"owner": "two words"}),
        ("link_runbook", {"runbook_id": "../etc"}),
    ]
    for verb, body in refused:
        with pytest.raises(InvalidInput):
            await room.ask(verb, incident_id=incident, **body)
    for body in (
        {"title": " "},
        {"title": "x" * 501},
        {"severity": "none"},
        {"tags": ["a b"]},
        {"description": "\x00"},
    ):
        with pytest.raises(InvalidInput):
            await room.ask("create", **{"title": "t", "severity": "low", **body})
    with pytest.raises(Conflict) as unexplained:
        await room.ask("transition", incident_id=incident, trigger="resolve")

    assert unexplained.value.reason_code == "rationale_missing"
    await room.told("incident.created")


async def test_whoever_may_not_changes_nothing_and_strangers_see_nothing(room: Room, incident: str) -> None:
    for verb, body in JUDGEMENTS:
        with pytest.raises(Denied):
            await room.ask(verb, who=VIEWER, incident_id=incident, **body)
        for tenant, incident_id in [("default", incident), ("acme", incident), ("acme", new_id())]:
            with pytest.raises(NotFound):
                await room.ask(verb, who=STRANGER, tenant=tenant, incident_id=incident_id, **body)
    for who in (VIEWER, STRANGER):
        with pytest.raises(Denied):
            await room.ask("create", who=who, title="t", severity="low")
    await room.ask("create", who=STRANGER, tenant="acme", title="Theirs", severity="low")

    assert [item["title"] for item in (await room.ask("list"))["items"]] == ["Disk is loud"]
    assert [item["title"] for item in (await room.ask("list", who=STRANGER, tenant="acme"))["items"]] == ["Theirs"]


async def test_a_closed_incident_is_history(room: Room, incident: str) -> None:
    await room.ask("transition", incident_id=incident, trigger="resolve", rationale="it was the fan")
    await room.ask("transition", incident_id=incident, trigger="close", rationale="it was the fan")

    for verb, body in JUDGEMENTS:
        with pytest.raises(Conflict) as refused:
            await room.ask(verb, incident_id=incident, **body)
        assert refused.value.reason_code == "incident_closed"


async def test_incidents_are_found_by_severity_and_by_words(room: Room, incident: str) -> None:
    await room.post(event(1, name="storage_latency_high", title="Slow", severity="low"))
    await room.told("incident.created", "incident.created")

    async def titles(**filters: str) -> list[str]:
        return [item["title"] for item in (await room.ask("list", **filters))["items"]]

    assert await titles() == ["Slow", "Disk is loud"]
    assert await titles(severity="high") == ["Disk is loud"]
    assert await titles(q="LATENCY") == ["Slow"]
    assert await titles(q="is lo") == ["Disk is loud"]
    assert await titles(q="%") == []
    assert await titles(q="disk", severity="low") == []
    assert await titles(status="new", severity="high", q="disk", after=new_id()) == ["Disk is loud"]
    assert incident in (await room.ask("list", q="disk"))["items"][0]["incident_id"]
