"""Every service behind the API and a target that counts its calls: olga begins runbooks, ina decides."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import httpx

from tests.integration.gateway.conftest import EVERYWHERE, bearer
from tests.support.eventually import eventually
from tests.support.listening import listening
from tests.support.servers import StackEnv

INA: Final = {**bearer(EVERYWHERE), "Rr-Tenant": "default"}
"""The second person: olga asks, ina answers."""
GATED: Final = """
apiVersion: ranger/v1
id: reroute-shard
name: Reroute a shard
risk: high
mode: auto
verify: {{alert: resolved, within: 10m}}
steps:
  - id: reroute
    type: action
    action: http.request
    with: {{method: POST, url: "{target}"}}
    effect: keyed
    resource: shard-7
    irreversible: true
    approval: {{prompt: Reroute shard-7?, expires: {expires}}}
"""
BY_HAND: Final = """
apiVersion: ranger/v1
id: replace-disk
name: Replace a disk
risk: high
mode: auto
steps:
  - {id: replace, type: manual, instructions: Replace the disk., evidence: required}
"""


class Target:
    """A server that counts how often it is asked for anything."""

    def __init__(self) -> None:
        self.calls = 0
        self.address = ""

    @asynccontextmanager
    async def served(self) -> AsyncIterator["Target"]:
        """Listens on a free port."""
        async with listening(self._answer) as port:
            self.address = f"127.0.0.1:{port}"
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.calls += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()


class Whole:
    """The whole composition behind the API, and a target; olga begins runbooks, ina decides."""

    def __init__(self, http: httpx.AsyncClient, env: StackEnv, target: Target) -> None:
        self.http = http
        self.env = env
        self.target = target
        self.alerts = 0

    async def begun(self, source: str, *, expires: str = "15m") -> str:
        """An execution that asks for an approval."""
        text, incident = source, {}
        if source is GATED:
            text = source.format(target=f"http://{self.target.address}/", expires=expires)
            incident = {"incident_id": await self.incident()}
        runbook = (await self.done("/runbooks", source=text))["runbook_id"]
        execution: str = (await self.done(f"/runbooks/{runbook}/execute", **incident))["execution_id"]
        return execution

    async def incident(self) -> str:
        """A new alert's incident."""
        self.alerts += 1
        now = datetime.now(UTC).isoformat()
        alert = {"name": f"slow-{self.alerts}", "severity": "high", "labels": {"shard": "7"}, "starts_at": now}
        await self.done("/webhooks/events", **alert)

        async def look() -> str | None:
            items = (await self.http.get("/incidents")).json()["items"]
            return str(items[0]["incident_id"]) if len(items) == self.alerts else None

        return str(await eventually(look, timeout=30))

    async def done(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to what ina decides, and to everything else, which olga asks for."""
        olga = not path.startswith("/approvals")
        answer = await self.http.post(path, json=body, headers={} if olga else INA)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def refused(self, path: str, status: int = 409, *, olga: bool = False, **body: Any) -> dict[str, Any]:
        """The problem that a request is refused with; it says what to do."""
        answer = await self.http.post(path, json=body, headers={} if olga else INA)
        problem: dict[str, Any] = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
        assert problem["fix"]
        return problem

    async def asked(self, execution: str, *, count: int = 1) -> dict[str, Any]:
        """The open question of an execution, once it has asked so many."""

        async def look() -> dict[str, Any] | None:
            items = (await self.http.get("/approvals", params={"execution_id": execution})).json()["items"]
            return items[0] if len(items) == count and items[0]["state"] == "requested" else None

        found = await eventually(look, timeout=30)
        assert found is not None
        return found

    async def grant(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Ina says yes to what she was shown."""
        return await self.done(f"/approvals/{asked['approval_id']}/grant", **yes(asked))

    async def shown(self, execution: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The execution, once that holds of it."""

        async def look() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.http.get(f"/executions/{execution}")).json()
            return found if holds(found) else None

        found = await eventually(look, timeout=30)
        assert found is not None
        return found

    async def failed(self, execution: str, code: str) -> None:
        """The step failed for that reason, which the execution and its timeline say; nothing ran."""
        [step] = (await self.shown(execution, lambda found: found["state"] == "failed"))["steps"]
        told = await self.told(execution, "runbook.step_failed")
        assert (step["error_code"], told["error_code"]) == (code, code)
        assert step["message"] == told["message"]
        assert [attempt for attempt in step["attempts"] if attempt["started_at"]] == []
        assert self.target.calls == 0

    async def told(self, execution: str, fact: str, count: int = 1) -> dict[str, Any]:
        """What the timeline says in the last of so many facts of a kind."""

        async def look() -> dict[str, Any] | None:
            entries = (await self.http.get("/timeline", params={"execution_id": execution})).json()["entries"]
            found = [entry["payload"] for entry in entries if entry["type"] == fact]
            return found[-1] if len(found) == count else None

        payload = await eventually(look, timeout=30)
        assert payload is not None
        return payload

    async def sql(self, query: str, *values: Any) -> Any:
        """A value from the executor's schema, as administrator."""
        admin = await asyncpg.connect(self.env["RR_POSTGRES_URL"], server_settings={"search_path": "executor"})
        try:
            return await admin.fetchval(query, *values)
        finally:
            await admin.close()

    async def outlive(self, approval: str) -> None:
        """Let a grant that has arrived be past its time."""
        late = "UPDATE approval SET expires_at = clock_timestamp() WHERE approval_id = $1::uuid RETURNING 1"
        assert await eventually(lambda: self.sql(late, approval), timeout=30)

    async def switch(self, *, engaged: bool) -> None:
        """Hold mutations back, or let them go."""
        await self.done("/kill-switch", engaged=engaged, reason="a drill")


def yes(asked: dict[str, Any]) -> dict[str, Any]:
    """A grant of what is asked."""
    return {"rationale": "seen and agreed", "plan_hash": asked["plan_hash"], "action_hash": asked["action_hash"]}
