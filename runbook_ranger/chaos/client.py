"""The run's own client of the product: each call is made, repeated where that is allowed, and kept in the history."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import nats.errors
import orjson
from nats.aio.client import Client as NatsClient

from libs.common.contracts.alert import SUBJECT_EVENT
from libs.common.ids import new_id
from runbook_ranger.chaos.history import Call, History, Outcome
from runbook_ranger.stack.plan import Urls

TIMEOUT_SECONDS: Final = 5.0
PUBLISH_SECONDS: Final = 2.0
ATTEMPTS: Final = 4
PAUSE_SECONDS: Final = 0.4
NOT_KNOWN: Final = frozenset({500, 502, 503, 504})
"""Answers that leave open whether the call took effect."""


class Caller:
    """Speaks to the gateway for one person; looks each time where it is, since a stack started again may have moved."""

    def __init__(self, url: Callable[[], str], token: str, history: History) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._url = url
        self._http = httpx.AsyncClient(headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
        self._history = history

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def command(self, name: str, path: str, body: Mapping[str, Any], **about: Any) -> Call:
        """Change something: the same request with the same key, until its outcome is known or patience is over."""
        key = new_id()
        call = self._history.begin(name, about, key)
        outcome, status, answer = await self._asked(path, body, {"Idempotency-Key": key})
        return self._history.end(call, outcome, status=status, answer=answer)

    async def post(self, name: str, path: str, body: Mapping[str, Any], **about: Any) -> Call:
        """Send what may come twice, without a key: an alert."""
        call = self._history.begin(name, about)
        outcome, status, answer = await self._asked(path, body, {})
        return self._history.end(call, outcome, status=status, answer=answer)

    async def publish(self, text: str) -> None:
        """Publish a runbook; before the faults begin, so it has to succeed.

        Raises:
            httpx.HTTPError: it did not.
        """
        answer = await self._http.post(
            f"{self._url()}/runbooks", content=text, headers={"Content-Type": "application/yaml"}
        )
        answer.raise_for_status()

    async def _asked(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[Outcome, int, Mapping[str, Any]]:
        outcome: Outcome = "unknown"
        status, content = 0, {}
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS * attempt)
            try:
                answer = await self._http.post(f"{self._url()}{path}", json=dict(body), headers=dict(headers))
                status, content = answer.status_code, _content(answer)
            except httpx.TransportError:
                status, content = 0, {}
                continue
            if status not in NOT_KNOWN:
                outcome = "ok" if answer.is_success else "fail"
                break
        return outcome, status, content


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


class Publisher:
    """Reports alerts on the bus itself, as monitoring that has no webhook does."""

    def __init__(self, urls: Urls, history: History) -> None:
        self._urls = urls
        self._history = history
        self._client: NatsClient | None = None
        self._connecting = asyncio.Lock()

    async def alert(self, event: Mapping[str, Any], **about: Any) -> Call:
        """One report; acknowledged once the stream has it."""
        call = self._history.begin("alert", {**about, "by": "bus"})
        try:
            client = await self._connected()
            trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
            headers = {"Nats-Msg-Id": new_id(), "traceparent": trace}
            stored = await client.jetstream().publish(
                SUBJECT_EVENT, orjson.dumps(event), headers=headers, timeout=PUBLISH_SECONDS
            )
        except (nats.errors.Error, OSError, TimeoutError):
            return self._history.end(call, "unknown")
        return self._history.end(call, "ok", answer={"stream": stored.stream, "seq": stored.seq})

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> NatsClient:
        async with self._connecting:  # a second connection would stay behind and look for its server for ever
            if self._client is None or self._client.is_closed:
                self._client = await self._urls.bus(
                    max_reconnect_attempts=-1, reconnect_time_wait=0.2, connect_timeout=2, error_cb=_heard
                )
            return self._client


async def _heard(_error: Exception) -> None:
    """A cut connection is part of the run."""
