"""One incident a problem, over real servers and several processes."""

import asyncio
import random
import signal
from datetime import timedelta

import orjson
import pytest

from libs.common.contracts.alert import SUBJECT_ALERTMANAGER
from tests.integration.incident.room import START, Room, event, prometheus, webhook
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


async def test_a_hundred_alerts_at_once_over_two_instances_open_one_incident(room: Room) -> None:
    await asyncio.gather(room.start("incident-1"), room.start("incident-2"))

    await asyncio.gather(*(room.post(event(number, turn=number)) for number in range(100)))

    await room.settled()
    await room.told("incident.created")
    [alert] = await room.rows("SELECT * FROM alert")
    assert alert["occurrences"] == 100


async def test_a_storm_survives_an_instance_that_is_killed_in_its_middle_and_started_again(room: Room) -> None:
    await room.impatient()
    first, _ = await asyncio.gather(
        room.start("incident-1", RR_BATCH="5", RR_CRASH_AT="consumer_before_commit"),
        room.start("incident-2", RR_BATCH="5"),
    )

    await asyncio.gather(*(room.post(event(number, turn=number)) for number in range(100)))
    assert await asyncio.wait_for(first.process.wait(), 20) == 137
    await room.start("incident-1")

    await room.settled()
    await room.told("incident.created")
    [alert] = await room.rows("SELECT * FROM alert")
    assert alert["occurrences"] == 100


async def test_a_storm_survives_the_loss_of_each_server(room: Room, servers: Servers) -> None:
    await room.impatient()
    await asyncio.gather(room.start("incident-1", RR_BATCH="5"), room.start("incident-2", RR_BATCH="5"))
    await asyncio.gather(*(room.post(event(number, turn=number)) for number in range(200)))

    servers.kill(servers.postgres)
    servers.restart(servers.postgres)
    servers.kill(servers.nats)
    servers.restart(servers.nats)

    await eventually(room.connected, timeout=20)
    await room.settled()
    await room.told("incident.created")
    [alert] = await room.rows("SELECT * FROM alert")
    assert alert["occurrences"] == 200
    assert await room.rows("SELECT * FROM dead_letter") == []
    assert all(instance.process.returncode is None for instance in room.instances)


async def test_a_crash_between_commit_and_acknowledgement_counts_nothing_twice(room: Room) -> None:
    await room.impatient()
    await room.post(*(event(number) for number in range(20)))
    dying = await room.launch("incident-1", RR_CRASH_AT="consumer_after_commit")
    assert await asyncio.wait_for(dying.process.wait(), 30) == 137

    await room.start("incident-2")

    await room.settled()
    await room.told("incident.created")
    [alert] = await room.rows("SELECT * FROM alert")
    assert alert["occurrences"] == 20


async def test_copies_from_two_alertmanagers_are_one_alert_even_after_its_end(room: Room) -> None:
    await room.start("incident-1")
    for receiver in ("am-0", "am-1", "am-0"):
        await room.post(webhook(prometheus(), receiver=receiver), subject=SUBJECT_ALERTMANAGER)
    await room.told("incident.created")

    for status in ("resolved", "resolved", "firing", "resolved"):
        await room.post(webhook(prometheus(status), receiver="am-1"), subject=SUBJECT_ALERTMANAGER)

    await room.settled()
    facts = await room.told("incident.created", "incident.alert_resolved", "incident.status_changed")
    assert [envelope.aggregate_version for envelope, _ in facts] == [1, 2, 3]
    created, ended, moved = (fact for _, fact in facts)
    assert (created.severity, created.title, created.fingerprint) == ("critical", "Storage is slow", "fp")
    assert ended.still_firing == 0
    assert (moved.previous, moved.status, moved.trigger) == ("new", "resolved", "alert_ended")


async def test_an_end_that_overtakes_its_firing_opens_nothing(room: Room) -> None:
    await room.start("incident-1")
    await room.post(event(1, status="resolved", ends_at=(START + timedelta(minutes=1)).isoformat()))
    await room.post(event(2))
    await room.settled()

    assert await room.subjects() == []
    assert await room.rows("SELECT * FROM incident") == []

    await room.post(event(3, start=START + timedelta(hours=1)))
    await room.told("incident.created")


async def test_a_new_start_reopens_what_is_resolved_and_opens_anew_what_is_closed(room: Room) -> None:
    await room.start("incident-1")
    await room.post(event(1), event(2, status="resolved"), event(3, start=START + timedelta(hours=1)))
    facts = await room.told(
        "incident.created",
        "incident.alert_resolved",
        "incident.status_changed",
        "incident.alert_linked",
        "incident.status_changed",
    )
    incident_id = facts[0][1].incident_id
    assert (facts[-1][1].trigger, facts[-1][1].status) == ("alert_refired", "new")

    for trigger in ("resolve", "close"):
        await room.ask("transition", incident_id=incident_id, trigger=trigger, rationale="a drill")
    await room.post(event(4, start=START + timedelta(hours=2)))
    await room.settled()

    created = [fact.incident_id for envelope, fact in await room.facts() if envelope.type == "incident.created"]
    assert len(set(created)) == len(created) == 2


async def test_tenants_do_not_share_incidents(room: Room) -> None:
    await room.start("incident-1")

    await room.post(event(1), tenant="acme")
    await room.post(event(2), tenant="other")
    await room.post(event(3))

    facts = await room.told(*["incident.created"] * 3)
    assert {envelope.tenant for envelope, _ in facts} == {"acme", "other", "default"}


async def test_a_fact_belongs_to_the_trace_of_the_alert_that_caused_it(room: Room) -> None:
    await room.start("incident-1")
    trace = "0af7651916cd43dd8448eb211c80319c"

    [seq] = await room.post(event(1), trace=f"00-{trace}-b7ad6b7169203331-01")

    [(envelope, fact)] = await room.told("incident.created")
    assert seq == 1
    assert envelope.traceparent.split("-")[1] == trace
    assert (envelope.actor, envelope.correlation, envelope.incident_id) == (
        "svc_incident",
        fact.incident_id,
        fact.incident_id,
    )
    assert envelope.causation != ""


@pytest.mark.parametrize("seed", [1, 2])
async def test_many_problems_in_any_order_over_two_instances_end_consistent(room: Room, seed: int) -> None:
    """Webhooks of many alerts that share problems in different orders: what deadlocks when locks are not sorted."""
    rng = random.Random(seed)
    await room.impatient()
    first, _ = await asyncio.gather(room.start("incident-1", RR_BATCH="7"), room.start("incident-2", RR_BATCH="7"))
    alerts = [prometheus(status, hours=h, shard=str(s)) for s in range(30) for h in range(3) for status in STATUSES]
    posts = []
    for _ in range(60):
        rng.shuffle(alerts)
        posts.append(webhook(*alerts[:60]))

    await asyncio.gather(*(room.post(body, subject=SUBJECT_ALERTMANAGER) for body in posts[:30]))
    await first.end(signal.SIGKILL)
    await room.start("incident-1", RR_BATCH="7")
    await asyncio.gather(*(room.post(body, subject=SUBJECT_ALERTMANAGER) for body in posts[30:]))
    await room.settled()

    seen = {(a["fingerprint"], a["startsAt"]) for body in posts for a in orjson.loads(body)["alerts"]}
    assert len(await room.rows("SELECT * FROM alert")) == len(seen)
    assert await room.rows(_TWICE_OPEN) == []
    assert await room.rows(_MISCOUNTED) == []
    assert await room.rows("SELECT * FROM dead_letter") == []
    assert not any("Deadlock" in instance.output.read_text() for instance in room.instances)
    versions: dict[str, list[int]] = {}
    for envelope, _ in await room.facts():
        versions.setdefault(envelope.aggregate_id, []).append(envelope.aggregate_version)
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())


STATUSES = ("firing", "resolved")
_TWICE_OPEN = "SELECT fingerprint FROM incident WHERE status <> 'closed' GROUP BY fingerprint HAVING count(*) > 1"
_MISCOUNTED = (
    "SELECT i.incident_id FROM incident i LEFT JOIN alert a USING (tenant_id, incident_id)"
    " GROUP BY i.incident_id, i.firing HAVING i.firing <> count(*) FILTER (WHERE a.status = 'firing')"
)
