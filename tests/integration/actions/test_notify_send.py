"""`notify.send` over real sockets: what a channel hears, and what a missing or failing one means."""

import json
from collections.abc import Callable

import pytest

from libs.actions import ActionContext, ActionSettings, Effect, invoke
from libs.actions.notify_send import NotifySend
from tests.integration.actions.conftest import RawServer

Make = Callable[..., ActionContext]
SEND = NotifySend()
SAY = {"channel": "on-call", "message": "the primary shard is slow", "severity": "high"}


async def test_a_channel_hears_who_says_what_about_which_incident(server: RawServer, context: Make) -> None:
    told = context(effect=Effect.IDEMPOTENT, channels={"on-call": f"{server.url}/hook"}, incident_id="i-1")

    result = await invoke(SEND, SAY, told)

    assert result.outputs == {"channel": "on-call", "delivered": True}
    assert server.headers()["idempotency-key"] == "idem-1"
    body = json.loads(server.requests[0].partition("\r\n\r\n")[2])
    assert body == SAY | {"incident_id": "i-1", "execution_id": "e", "step": "s"}


async def test_a_channel_that_nobody_configured_fails_and_says_what_to_set(context: Make) -> None:
    result = await invoke(SEND, SAY, context(effect=Effect.IDEMPOTENT, channels={"ops": "http://127.0.0.1:1/"}))

    assert (result.error_code, result.retryable) == ("channel_unknown", False)
    assert "RR_NOTIFY_CHANNELS" in (result.message or "")


async def test_the_log_is_a_channel_that_always_exists(context: Make) -> None:
    result = await invoke(SEND, SAY | {"channel": "log"}, context(effect=Effect.IDEMPOTENT))

    assert result.ok
    assert result.outputs["delivered"] is False


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (429, True), (404, False)])
async def test_a_channel_that_refuses_is_tried_again_only_where_that_may_help(
    server: RawServer, context: Make, status: int, retryable: bool
) -> None:
    server.says(f"HTTP/1.1 {status} No")

    result = await invoke(SEND, SAY, context(effect=Effect.IDEMPOTENT, channels={"on-call": server.url}))

    assert (result.error_code, result.retryable) == ("notify_refused", retryable)


async def test_a_channels_url_is_a_secret(context: Make) -> None:
    url = "http://127.0.0.1:1/services/T000/canary-secret-path"

    result = await invoke(SEND, SAY, context(effect=Effect.IDEMPOTENT, channels={"on-call": url}))

    assert not result.ok
    assert "canary-secret-path" not in f"{result}"


@pytest.mark.parametrize("text", ["[]", "no", '{"on-call": 1}'])
def test_channels_that_are_no_object_of_strings_are_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RR_NOTIFY_CHANNELS", text)

    with pytest.raises(ValueError, match="RR_NOTIFY_CHANNELS"):
        ActionSettings().channels()
