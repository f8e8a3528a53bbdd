"""What cannot be read is set aside with its reason; the process stays well and goes on."""

import orjson
import pytest

from libs.common.contracts.alert import SUBJECT_ALERTMANAGER, SUBJECT_EVENT
from libs.common.contracts.choreography import DLQ
from libs.common.errors import Denied
from libs.common.puller import BATCH_BYTES
from tests.integration.incident.room import ADMIN, OPERATOR, Room, event, prometheus, webhook
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

HOSTILE = [
    (SUBJECT_EVENT, b"", "malformed: not JSON"),
    (SUBJECT_EVENT, b"{" * 5000, "malformed: not JSON"),
    (SUBJECT_EVENT, b'{"name":"\xff\xfe"}', "malformed: not JSON"),
    (SUBJECT_EVENT, b"[]", "malformed: body must be a JSON object"),
    (SUBJECT_EVENT, event(title="x" * 300_000), "malformed: body is 300"),
    (SUBJECT_EVENT, event(name="'; DROP TABLE incident; --\x00"), "malformed: name"),
    (SUBJECT_EVENT, event(labels={"a\x00b": "x"}), "malformed: labels"),
    (SUBJECT_EVENT, event(starts_at="0001-01-01T00:00:00+14:00"), "malformed: starts_at"),
    (SUBJECT_EVENT, event(fingerprint="../../etc"), "malformed: fingerprint"),
    (SUBJECT_ALERTMANAGER, event(), "malformed: version"),
    (SUBJECT_ALERTMANAGER, webhook(*[prometheus()] * 201), "malformed: alerts"),
    (SUBJECT_ALERTMANAGER, webhook(prometheus(), {**prometheus(), "status": "?"}), "malformed: alerts.1.status"),
]


async def test_each_hostile_post_becomes_a_dead_letter_with_its_reason_and_the_rest_goes_on(room: Room) -> None:
    instance = await room.start("incident-1")

    for subject, body, _ in HOSTILE:
        await room.post(body, subject=subject)
    await room.post(event(1, name="it's -- a 'name'; ☃", labels={"a": "\x01\n\t'\"\\", "b": "é" * 1000}))

    [(_, created)] = await room.told("incident.created")
    assert created.alert_name == "it's -- a 'name'; ☃"
    await room.settled()
    letters = await room.rows("SELECT reason, state, aggregate_id FROM dead_letter ORDER BY id")
    assert len(letters) == len(HOSTILE)
    for letter, (_, _, reason) in zip(letters, HOSTILE, strict=True):
        assert letter["reason"].startswith(reason)
        assert (letter["state"], letter["aggregate_id"]) == ("open", "")
    assert (await room.bus.js.stream_info(DLQ)).state.messages == len(HOSTILE)
    assert await instance.ready()
    assert await room.rows("SELECT * FROM inbox_failure") == []


async def test_a_dead_letter_is_seen_by_its_own_tenant_s_administrator_alone(room: Room) -> None:
    await room.start("incident-1")
    await room.post(b"not json", tenant="acme")
    await room.settled()

    assert (await room.ask("dlq_list", who=ADMIN))["items"] == []
    with pytest.raises(Denied):
        await room.ask("dlq_list", who=OPERATOR)
    [letter] = await room.rows("SELECT tenant_id, reason FROM dead_letter")
    assert letter["tenant_id"] == "acme"


async def test_a_tenant_s_name_from_the_bus_is_checked_as_well(room: Room) -> None:
    await room.start("incident-1")

    await room.post(event(), tenant="a tenant with spaces")
    await room.settled()

    [letter] = await room.rows("SELECT reason FROM dead_letter")
    assert letter["reason"] == "malformed: header Rr-Tenant is not a tenant's name"


async def test_the_largest_posts_allowed_are_folded_in(room: Room) -> None:
    alerts = [prometheus(shard=str(number)) for number in range(200)]
    await room.post(*[webhook(*alerts)] * 40, subject=SUBJECT_ALERTMANAGER)

    instance = await room.start("incident-1")
    await room.settled()

    assert len(await room.rows("SELECT 1 FROM incident")) == 200
    assert {row["occurrences"] for row in await room.rows("SELECT occurrences FROM alert")} == {40}
    assert await instance.metric('alerts_ingested_total{outcome="opened"}') == 200
    assert await instance.metric('alerts_ingested_total{outcome="repeated"}') == 200 * 39


async def test_a_flood_of_distinct_problems_is_taken_in_transactions_of_bounded_length(room: Room) -> None:
    """As one transaction 256 posts of 200 problems would take longer than their acknowledgement is waited for."""
    bodies = [webhook(*(prometheus(shard=f"{n}-{i}") for i in range(200))) for n in range(32)]
    for body in bodies:
        await room.post(body, subject=SUBJECT_ALERTMANAGER)

    instance = await room.start("incident-1")
    await room.settled()

    assert (await room.rows("SELECT count(*) AS n FROM incident")) == [{"n": 32 * 200}]
    taken = await instance.metric('ranger_consume_batch_size_count{consumer="incident:INGRESS"}')
    assert taken >= sum(map(len, bodies)) / BATCH_BYTES


async def test_an_answer_stays_within_its_limit_whatever_was_posted(room: Room) -> None:
    await room.start("incident-1")
    labels = {f"l{number}": "\u00e9" * 900 for number in range(60)}
    annotations = {f"a{number}": "\x01" * 600 for number in range(30)}
    [seq] = await room.post(event(1, labels=labels, annotations=annotations, fingerprint="big"))
    assert seq == 1
    for hours in range(0, 150, 30):
        alerts = [{**prometheus(hours=hour), "fingerprint": "big"} for hour in range(hours, hours + 30)]
        await room.post(webhook(*alerts), subject=SUBJECT_ALERTMANAGER)
    await room.settled()

    incident_id = (await room.rows("SELECT incident_id FROM incident"))[0]["incident_id"]
    answer = await room.ask("get", incident_id=str(incident_id))

    assert answer["alert_count"] == 150
    assert len(answer["alerts"]) == 100
    assert len(orjson.dumps(answer)) < 512 * 1024


async def test_open_incidents_are_counted_by_severity(room: Room) -> None:
    instance = await room.start("incident-1", RR_INCIDENT_CENSUS_SECONDS="0.05")

    await room.post(event(1, fingerprint="a"), event(2, fingerprint="b"), event(3, fingerprint="c", severity="low"))
    await room.settled()

    async def counted() -> bool:
        high = await instance.metric('incidents_open_total{severity="high"}')
        return high == 2 and await instance.metric('incidents_open_total{severity="low"}') == 1

    await eventually(counted)
