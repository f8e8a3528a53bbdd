"""Alerts from outside: stored before they are accepted, in the credential's tenant, or refused whole."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from libs.common.bus import Bus
from libs.common.contracts.alert import MAX_BODY_BYTES
from tests.integration.gateway.conftest import EVERYWHERE, OPERATOR, SENDER, TWO_TENANTS, VIEWER, bearer

EVENT = {
    "name": "storage_latency_high",
    "severity": "high",
    "labels": {"shard": "s1"},
    "starts_at": "2026-03-01T10:00:00Z",
}
ALERTMANAGER = {
    "version": "4",
    "groupKey": "{}",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "storage_latency_high", "shard": "s1"},
            "annotations": {"summary": "slow"},
            "startsAt": "2026-03-01T10:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "00000000000000aa",
        }
    ],
}


async def stored(bus: Bus, seq: int) -> Any:
    return await bus.js.get_msg("INGRESS", seq)


@pytest.mark.parametrize(
    ("path", "subject", "body"),
    [("events", "alert.event", EVENT), ("alertmanager", "alert.alertmanager", ALERTMANAGER)],
)
async def test_an_accepted_alert_stands_in_the_stream_byte_for_byte(
    http: httpx.AsyncClient, bus: Bus, path: str, subject: str, body: dict[str, Any]
) -> None:
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2)

    answer = await http.post(f"/webhooks/{path}", content=raw, headers={"Content-Type": "application/json"})

    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "stream": "INGRESS", "seq": 1}
    message = await stored(bus, 1)
    assert (message.subject, message.data) == (subject, raw)
    assert message.headers["Rr-Tenant"] == "default"
    assert message.headers["Rr-Actor"] == "olga"


async def test_the_same_post_twice_is_stored_twice_under_fresh_ids(http: httpx.AsyncClient, bus: Bus) -> None:
    answers = [await http.post("/webhooks/events", json=EVENT) for _ in range(2)]

    assert [answer.json()["seq"] for answer in answers] == [1, 2]
    ids = [(await stored(bus, seq)).headers["Nats-Msg-Id"] for seq in (1, 2)]
    assert ids[0] != ids[1]


async def test_the_tenant_is_the_credentials(http: httpx.AsyncClient, bus: Bus, subtests: pytest.Subtests) -> None:
    lying = EVENT | {"tenant": "victim", "tenant_id": "victim"}
    cases = [
        (bearer(SENDER), "acme"),
        (bearer(SENDER) | {"Rr-Tenant": "acme"}, "acme"),
        (bearer(TWO_TENANTS) | {"Rr-Tenant": "globex"}, "globex"),
        (bearer(EVERYWHERE), "default"),
        (bearer(EVERYWHERE) | {"Rr-Tenant": "anyone"}, "anyone"),
    ]
    for headers, tenant in cases:
        with subtests.test(headers=headers):
            answer = await http.post("/webhooks/events", json=lying, headers=headers)

            assert answer.status_code == 202
            assert (await stored(bus, answer.json()["seq"])).headers["Rr-Tenant"] == tenant


async def test_a_foreign_tenant_or_a_reader_is_refused_and_nothing_is_stored(
    http: httpx.AsyncClient, bus: Bus, subtests: pytest.Subtests
) -> None:
    cases = [
        (bearer(SENDER) | {"Rr-Tenant": "globex"}, "policy.tenant"),
        (bearer(TWO_TENANTS), "tenant_ambiguous"),
        (bearer(TWO_TENANTS) | {"Rr-Tenant": "*"}, "policy.tenant"),
        (bearer(EVERYWHERE) | {"Rr-Tenant": "*"}, "policy.tenant"),
        (bearer(EVERYWHERE) | {"Rr-Tenant": "a b"}, "policy.tenant"),
        (bearer(VIEWER), "policy.role"),
    ]
    for headers, code in cases:
        with subtests.test(headers=headers):
            answer = await http.post("/webhooks/events", json=EVENT, headers=headers)

            assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert (await bus.js.stream_info("INGRESS")).state.messages == 0


async def test_a_malformed_alert_is_refused_at_once_by_field_and_without_its_values(
    http: httpx.AsyncClient, bus: Bus, subtests: pytest.Subtests
) -> None:
    cases = [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"name": "x"}', "starts_at"),
        (b'{"name": "x", "starts_at": "yesterday"}', "starts_at"),
        (b'{"name": "x", "starts_at": "2026-03-01T10:00:00Z", "severity": "apocalyptic"}', "severity"),
        (b"[" * 100_000, "not JSON"),
        (b'{"name": "\xff", "starts_at": "2026-03-01T10:00:00Z"}', "not JSON"),
    ]
    for content, named in cases:
        with subtests.test(content=content[:60]):
            answer = await http.post("/webhooks/events", content=content, headers={"Content-Type": "application/json"})

            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/problem+json"
            assert named in answer.json()["detail"]
            assert "apocalyptic" not in answer.text
    assert (await bus.js.stream_info("INGRESS")).state.messages == 0


async def test_another_content_type_is_refused(http: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    cases = [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=utf-16",
        "application/yaml",
    ]
    for content_type in cases:
        with subtests.test(content_type=content_type):
            headers = {} if content_type is None else {"Content-Type": content_type}
            answer = await http.post("/webhooks/events", content=orjson.dumps(EVENT), headers=headers)

            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(base_url: str) -> None:
    host, port = base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /webhooks/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + OPERATOR.encode() + b"\r\nContent-Length: 999999999\r\n\r\n"
    )

    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_stream_without_a_length_is_cut_at_the_limit(http: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100 * MAX_BODY_BYTES:
            sent += 65536
            yield b" " * 65536

    answer = await http.post("/webhooks/events", content=endless(), headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_the_largest_body_is_taken(http: httpx.AsyncClient) -> None:
    body = orjson.dumps(EVENT)
    padded = body + b" " * (MAX_BODY_BYTES - len(body))

    answer = await http.post("/webhooks/events", content=padded, headers={"Content-Type": "application/json"})

    assert answer.status_code == 202


async def test_a_body_that_does_not_come_is_not_waited_for(base_url: str) -> None:
    host, port = base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /webhooks/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + OPERATOR.encode() + b"\r\nContent-Length: 10\r\n\r\n{"
    )

    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    assert head.startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_without_a_stream_an_alert_is_not_accepted(http: httpx.AsyncClient, bus: Bus) -> None:
    await bus.js.delete_stream("INGRESS")

    answer = await http.post("/webhooks/events", json=EVENT)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
