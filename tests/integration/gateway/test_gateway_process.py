"""A real gateway process: what it says, what it hides, and what it does while its servers are away."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from libs.common.bus import round_trip
from tests.integration.gateway.conftest import OPERATOR, TOKENS, VIEWER, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.test_webhooks import EVENT
from tests.support.eventually import eventually
from tests.support.servers import Servers, StackEnv

CANARY = "canary-in-the-body-c0ffee"
INCIDENT = "0192f0c1-0000-7000-8000-00000000000a"


def client(gateway: GatewayProcess, token: str = OPERATOR) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, headers=bearer(token), timeout=15)


async def test_neither_tokens_nor_bodies_appear_in_answers_logs_or_spans(
    gateway: GatewayProcess, services: FakeServices, tmp_path: Path
) -> None:
    await services.answer("incident.transition", {"not": "what the gateway expects"})
    await services.answer("incident.dlq_list", {"no items": "so that a bug of ours shows"})
    texts: list[str] = []
    json_type = {"Content-Type": "application/json"}
    async with client(gateway) as http:
        for token in (OPERATOR, VIEWER, "canary-of-a-guess-1234"):
            for content in (
                orjson.dumps(EVENT | {"annotations": {"note": CANARY}}),
                f'{{"{CANARY}": '.encode(),
                orjson.dumps({"name": CANARY, "starts_at": CANARY}),
                orjson.dumps({"trigger": CANARY, "unknown": CANARY}),
            ):
                for path in ("/webhooks/events", "/webhooks/alertmanager", f"/incidents/{INCIDENT}/transition"):
                    answer = await http.post(path, content=content, headers=bearer(token) | json_type)
                    texts += [answer.text, str(answer.headers)]
        broken = await http.get("/dead-letters?service=incident")
        texts += [broken.text, str(broken.headers)]

    assert broken.status_code == 500
    assert broken.json()["detail"] == "This is a bug of ours."
    trace = broken.headers["Trace-Id"]
    assert await gateway.stop() == 0
    texts += [gateway.said, (tmp_path / "traces.jsonl").read_text()]
    assert trace in gateway.said
    assert "deadletters.py" in gateway.said  # where the bug is
    for text in texts:
        assert CANARY not in text
        assert "canary-of-a-guess" not in text
        assert not [token for token in TOKENS if token in text]


async def test_one_trace_begins_with_the_alert_and_goes_on_in_its_message(
    gateway: GatewayProcess, services: FakeServices, tmp_path: Path
) -> None:
    foreign = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await services.answer("incident.get", {})
    async with client(gateway) as http:
        posted = await http.post("/webhooks/events", json=EVENT, headers={"traceparent": foreign})
        await http.get(f"/incidents/{INCIDENT}")

    message = await services.client.jetstream().get_msg("INGRESS", 1)
    trace = posted.headers["Trace-Id"]
    assert (message.headers or {})["traceparent"][3:35] == trace
    assert trace not in foreign
    await gateway.stop()
    spans = [orjson.loads(line) for line in (tmp_path / "traces.jsonl").read_bytes().splitlines()]
    mine = [span for span in spans if span["context"]["trace_id"] == f"0x{trace}"]
    root = next(span for span in mine if span["parent_id"] is None)
    assert root["name"] == "POST /webhooks/events"
    assert root["attributes"]["http.response.status_code"] == 202
    assert root["attributes"]["rr.tenant"] == "default"
    assert root["links"][0]["context"]["trace_id"] == f"0x{foreign[3:35]}"
    assert {span["name"] for span in mine} == {"POST /webhooks/events", "publish alert.event"}
    assert any(span["attributes"].get("rr.incident_id") == INCIDENT for span in spans)


async def test_while_nats_is_away_alerts_are_refused_and_afterwards_they_are_stored(
    gateway: GatewayProcess, servers: Servers
) -> None:
    async with client(gateway) as http:
        assert (await http.post("/webhooks/events", json=EVENT)).status_code == 202

        servers.kill(servers.nats)
        refused = await http.post("/webhooks/events", json=EVENT)
        asked = await http.get("/incidents")
        servers.restart(servers.nats)

        assert (refused.status_code, asked.status_code) == (503, 503)
        assert refused.headers["Retry-After"]
        assert refused.headers["content-type"] == "application/problem+json"

        async def accepted() -> bool:
            return (await http.post("/webhooks/events", json=EVENT)).status_code == 202

        await eventually(accepted, timeout=20)
    assert gateway.process.returncode is None


async def test_a_request_under_way_is_answered_before_the_process_stops(
    gateway: GatewayProcess, services: FakeServices
) -> None:
    subscription = await services.client.subscribe("rpc.incident.list")
    await round_trip(services.client)
    async with client(gateway) as http:
        asking = asyncio.create_task(http.get("/incidents"))
        question = await subscription.next_msg(timeout=5)

        gateway.process.send_signal(signal.SIGTERM)
        await question.respond(orjson.dumps({"ok": {"items": []}}))

        assert (await asking).json() == {"items": []}
    assert await gateway.stop() == 0


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"short": {"actor": "a", "tenants": ["t"], "roles": ["viewer"]}}, "16 to 512"),
        ({OPERATOR: {"actor": "a", "tenants": ["t"], "roles": ["system"]}}, "roles are"),
        ({OPERATOR: {"actor": "a", "tenants": [], "roles": ["viewer"]}}, "tenants"),
    ],
)
async def test_a_malformed_token_map_is_said_without_the_token_and_nothing_is_served(
    stack_env: StackEnv, tmp_path: Path, tokens: dict[str, Any], said: str
) -> None:
    env = stack_env.service("gateway", RR_TOKENS=orjson.dumps(tokens).decode())

    gateway = await GatewayProcess.start(env, tmp_path)

    assert await asyncio.wait_for(gateway.process.wait(), 30) != 0
    assert said in gateway.said
    assert OPERATOR not in gateway.said
