"""`http.request` against real sockets: what it sends, what it makes of the answer, and what it leaves in doubt."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.actions import ActionContext, ActionResult, Effect, Lease, Outcome, check_tags, http_request, invoke, outcome
from libs.actions.api import INLINE_LIMIT
from libs.actions.egress import Egress
from libs.actions.http_request import HttpRequest
from libs.actions.masking import MASK
from tests.integration.actions.conftest import RawServer
from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually

HTTP = HttpRequest()
Make = Callable[..., ActionContext]


async def test_the_key_the_fence_and_the_trace_go_along(server: RawServer, context: Make) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    result = await invoke(
        HTTP,
        {"method": "POST", "url": f"{server.url}/reroute", "json": {"to": "standby"}, "headers": {"X-Team": "sre"}},
        context(traceparent=trace),
    )

    assert result.ok
    headers = server.headers()
    assert headers["idempotency-key"] == "idem-1"
    assert headers["rr-fence"] == "42"
    assert headers["traceparent"] == trace
    assert headers["content-type"] == "application/json"
    assert headers["x-team"] == "sre"
    assert server.requests[0].endswith('{"to":"standby"}')


async def test_a_json_answer_becomes_outputs_and_evidence(server: RawServer, context: Make) -> None:
    server.says("HTTP/1.1 201 Created", "Content-Type: application/json; charset=utf-8", "Set-Cookie: sid=1",
                body=b'{"a":{"b/c":[1,2]},"n":null}')  # fmt: skip

    result = await invoke(
        HTTP,
        {"url": server.url, "capture": {"second": "/a/b~1c/1", "absent": "/a/x/y", "all": ""}},
        context(effect=Effect.READ),
    )

    document = {"a": {"b/c": [1, 2]}, "n": None}
    assert result.ok
    assert result.outputs["status"] == 201
    assert result.outputs["json"] == document
    assert result.outputs["captured"] == {"second": 2, "absent": None, "all": document}
    assert "set-cookie" not in result.outputs["headers"]
    assert result.evidence["status"] == 201
    assert len(result.evidence["sha256"]) == 64
    assert result.evidence["duration_ms"] > 0


async def test_a_text_answer_is_bounded(server: RawServer, context: Make) -> None:
    server.says("HTTP/1.1 200 OK", "Content-Type: text/plain", body=b"x" * 200_000)

    result = await invoke(HTTP, {"url": server.url}, context())

    assert len(orjson.dumps(result.outputs)) <= INLINE_LIMIT
    assert result.outputs["truncated"] == ["text"]
    assert orjson.loads(result.whole or b"")["text"] == "x" * 200_000
    assert result.evidence["bytes"] == 200_000


async def test_json_that_is_none_is_text(server: RawServer, context: Make) -> None:
    server.says("HTTP/1.1 200 OK", "Content-Type: application/json", body=b"{broken")

    assert (await invoke(HTTP, {"url": server.url}, context())).outputs["text"] == "{broken"


@pytest.mark.parametrize(
    ("status", "settled", "retryable"),
    [
        (301, Outcome.UNKNOWN, False),
        (303, Outcome.UNKNOWN, False),
        (400, Outcome.FAILED, False),
        (404, Outcome.FAILED, False),
        (408, Outcome.UNKNOWN, True),
        (409, Outcome.FAILED, False),
        (429, Outcome.FAILED, True),
        (500, Outcome.UNKNOWN, True),
        (503, Outcome.UNKNOWN, True),
    ],
)
async def test_an_unexpected_status_is_in_doubt_unless_the_target_said_no(
    server: RawServer, context: Make, status: int, settled: Outcome, retryable: bool
) -> None:
    server.says(f"HTTP/1.1 {status} Whatever")

    result = await invoke(HTTP, {"method": "POST", "url": server.url}, context())

    assert result.error_code == "unexpected_status"
    assert outcome(result, Effect.UNSAFE) is settled
    assert result.retryable is retryable


@pytest.mark.parametrize(("expected", "ok"), [([404], True), (["400-499"], True), ([200, "500-599"], False)])
async def test_the_author_says_which_status_is_good(
    server: RawServer, context: Make, expected: list[Any], ok: bool
) -> None:
    server.says("HTTP/1.1 404 Not Found")

    assert (await invoke(HTTP, {"url": server.url, "expect_status": expected}, context())).ok is ok


async def test_a_refused_connection_certainly_had_no_effect(context: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    result = await invoke(HTTP, {"method": "POST", "url": f"http://127.0.0.1:{port}/"}, context())

    assert (result.effect_possible, result.retryable) == (False, True)
    assert outcome(result, Effect.UNSAFE) is Outcome.FAILED


async def test_a_forbidden_address_certainly_had_no_effect(context: Make) -> None:
    result = await invoke(HTTP, {"method": "POST", "url": "http://169.254.169.254/latest"}, context())

    assert (result.error_code, result.effect_possible, result.retryable) == ("egress_address_blocked", False, False)


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(("effect", "settled"), [(Effect.UNSAFE, Outcome.UNKNOWN), (Effect.KEYED, Outcome.FAILED)])
async def test_a_read_time_out_leaves_an_unsafe_step_unknown(
    server: RawServer, context: Make, effect: Effect, settled: Outcome
) -> None:
    server.answer = silent

    result = await invoke(HTTP, {"method": "POST", "url": server.url, "timeout_seconds": 0.2}, context(effect=effect))

    assert (result.error_code, result.effect_possible) == ("timeout", True)
    assert outcome(result, effect) is settled


@pytest.mark.parametrize("effect", [Effect.UNSAFE, Effect.KEYED, Effect.IDEMPOTENT])
async def test_a_change_that_was_sent_goes_on_however_it_is_cancelled(
    server: RawServer, context: Make, effect: Effect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_request, "LAST_WORD_SECONDS", 0.05)
    server.answer = silent

    result = await cancelled_once_sent(server, context(lease=(lease := Lease()), effect=effect), lease)

    assert (result.error_code, result.effect_possible) == ("not_stopped", True)
    assert result.message == "abort by ann: the call had been sent and may go on at the target"
    assert outcome(result, effect) is Outcome.UNKNOWN


async def test_a_read_that_is_cancelled_is_over_at_once(server: RawServer, context: Make) -> None:
    server.answer = silent

    result = await cancelled_once_sent(server, context(lease=(lease := Lease()), effect=Effect.READ), lease)

    assert (result.error_code, result.message) == ("cancelled", "abort by ann")


async def test_the_last_word_of_a_cancelled_change_is_heard(server: RawServer, context: Make) -> None:
    told = asyncio.Event()

    async def late(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await told.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server.answer = late
    lease = Lease()
    context_of_it = context(lease=lease, effect=Effect.KEYED)
    running = asyncio.ensure_future(cancelled_once_sent(server, context_of_it, lease))
    await eventually(lambda: lease.cancelled)
    told.set()

    assert (await running).ok


async def cancelled_once_sent(server: RawServer, context: ActionContext, lease: Lease) -> ActionResult:
    method = "GET" if context.effect is Effect.READ else "POST"
    running = asyncio.ensure_future(invoke(HTTP, {"method": method, "url": server.url}, context))
    await eventually(lambda: server.requests)
    lease.cancel("abort by ann")
    return await running


async def test_secrets_that_a_target_echoes_are_masked_in_every_form(server: RawServer, context: Make) -> None:
    pair = base64.b64encode(b"svc:opensesame").decode()
    echo = json.dumps({"you sent": f"Basic {pair}", "key": "k-123456", "decoded": "opensesame", "fine": "text"})
    server.says("HTTP/1.1 500 Oops", "Content-Type: application/json", "Location: /?key=k-123456", body=echo.encode())

    result = await invoke(
        HTTP,
        {"url": server.url, "headers": {"Authorization": f"Basic {pair}", "X-Api-Key": "k-123456"}},
        context(secrets=("tainted-value",)),
    )

    shown = repr(result)
    assert not any(secret in shown for secret in (pair, "k-123456", "opensesame"))
    assert result.outputs["json"]["fine"] == "text"
    assert result.outputs["headers"]["location"] == f"/?key={MASK}"


async def test_an_unsafe_call_never_rides_on_an_old_connection(server: RawServer, context: Make) -> None:
    for _ in range(2):
        await invoke(HTTP, {"method": "POST", "url": server.url}, context(effect=Effect.UNSAFE))
    assert server.connections == 2

    for _ in range(2):
        await invoke(HTTP, {"method": "POST", "url": server.url}, context(effect=Effect.KEYED))
    assert server.connections == 3


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[DemoTarget]:
    async with DemoTarget(tmp_path) as running:
        yield running


async def test_the_demo_target_reroutes_once_for_one_key(target: DemoTarget, context: Make) -> None:
    arguments = {"method": "POST", "url": f"{target.url}/reroute", "json": {"to": "standby"}}

    first = await invoke(HTTP, arguments, context(effect=Effect.KEYED))
    again = await invoke(HTTP, arguments, context(effect=Effect.KEYED, fence=43, attempt=2))
    late = await invoke(HTTP, arguments, context(effect=Effect.KEYED, fence=41))

    assert first.ok
    assert again.ok
    assert (first.evidence["replayed"], again.evidence["replayed"]) == (False, True)
    assert (late.evidence["status"], late.effect_possible, late.retryable) == (409, False, False)
    assert (await target.get("/ledger"))["totals"]["effects"] == {"/reroute": 1}


async def test_the_demo_targets_tags_decide(target: DemoTarget, egress: Egress) -> None:
    url = HTTP.tags_url(HTTP.parse({"url": f"{target.url}/reroute"}))
    assert url is not None

    assert (await check_tags(egress, url)).allowed
    await target.post("/tags", {"tags": {"allow-remediation": "false"}})
    assert (await check_tags(egress, url)).code == "tag_not_allowed"
    await target.kill()
    assert (await check_tags(egress, url)).code == "tags_unreachable"
    assert (await check_tags(egress, "http://10.0.0.1/tags")).code == "egress_address_blocked"


async def test_a_call_outlasts_the_lease_it_began_with_when_that_is_renewed(
    server: RawServer, context: Callable[..., ActionContext]
) -> None:
    lease = Lease(time.monotonic() + 0.2)
    renewed = asyncio.Event()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lease.extend(time.monotonic() + 60)
        await asyncio.wait_for(renewed.wait(), 10)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server.answer = answer
    running = asyncio.ensure_future(invoke(HTTP, {"method": "POST", "url": server.url}, context(lease=lease)))
    await asyncio.wait({running}, timeout=0.5)
    renewed.set()

    assert (await running).ok
