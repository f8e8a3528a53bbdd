"""What policy told a command is written down with it; a denial is written down by itself, and told once a minute."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from libs.common.contracts.choreography import ADMIN
from libs.common.database import Tx
from libs.common.errors import Conflict, Denied
from libs.common.policy import Principal, Resource, require
from libs.common.rpc import Answer, Caller, Question, RpcClient, RpcServer
from tests.integration.common.lab import Lab

pytestmark = pytest.mark.stack

ADA = Principal("ada", frozenset({"acme"}), frozenset({"operator"}))
VERA = Principal("vera", frozenset({"acme"}), frozenset({"viewer"}))


class Named(Question):
    """Publish something."""

    runbook_id: str
    fail: bool = False


async def publish(_tx: Tx, caller: Caller, named: Named) -> Answer:
    """A command that asks policy, and then may fail by itself."""
    await require(caller.principal, "runbook.publish", Resource("runbook", named.runbook_id, caller.tenant))
    if named.fail:
        raise Conflict("Not now.", fix="Later.", code="not_now")
    return {"published": named.runbook_id}


async def look(_tx: Tx, caller: Caller, named: Named) -> Answer:
    """A question that asks policy."""
    await require(caller.principal, "runbook.view", Resource("runbook", named.runbook_id, caller.tenant))
    return {}


class Desk:
    """Asks, and reads what was written down."""

    def __init__(self, lab: Lab, client: RpcClient) -> None:
        self._lab = lab
        self._client = client

    async def ask(self, who: Principal, verb: str = "publish", key: str = "", **body: Any) -> dict[str, Any]:
        named = {"runbook_id": "r-1", **body}
        return await self._client.ask("catalog", verb, named, principal=who, tenant="acme", request_key=key)

    async def written(self) -> list[tuple[Any, ...]]:
        rows = await self._lab.catalog.pool.fetch(
            "SELECT actor, action, resource_id, allow, reasons, engine, revision FROM decision ORDER BY decided_at"
        )
        assert all(row["engine"] == "embedded" and row["revision"] for row in rows)
        return [
            (row["actor"], row["action"], row["resource_id"], row["allow"], orjson.loads(row["reasons"])[0]["code"])
            for row in rows
        ]

    async def told(self) -> list[dict[str, Any]]:
        rows = await self._lab.catalog.pool.fetch("SELECT payload, subject FROM outbox ORDER BY id")
        assert {row["subject"] for row in rows} <= {"runbook.draft_denied"}
        return [orjson.loads(row["payload"]) for row in rows]


@pytest.fixture
async def desk(lab: Lab) -> Desk:
    bus = await lab.another_bus("catalog")
    server = RpcServer(bus, lab.catalog, "catalog")
    server.command("publish", Named, publish)
    server.query("look", Named, look)
    await bus.serve()
    return Desk(lab, RpcClient(await lab.another_bus(ADMIN), timeout=5.0))


async def test_what_was_allowed_stands_with_what_was_done(desk: Desk) -> None:
    assert await desk.ask(ADA, key="k-1") == {"published": "r-1"}
    await desk.ask(ADA, key="k-1")

    assert await desk.written() == [("ada", "runbook.publish", "r-1", True, "role")]
    assert await desk.told() == []


async def test_what_was_allowed_and_failed_left_nothing_behind(desk: Desk) -> None:
    with pytest.raises(Conflict):
        await desk.ask(ADA, fail=True)

    assert await desk.written() == []


async def test_a_denial_is_written_down_each_time_and_told_once(desk: Desk) -> None:
    for _ in range(3):
        with pytest.raises(Denied) as denied:
            await desk.ask(VERA)
    with pytest.raises(Denied):
        await desk.ask(VERA, runbook_id="r-2")

    assert [row[:4] for row in await desk.written()] == [
        *[("vera", "runbook.publish", "r-1", False)] * 3,
        ("vera", "runbook.publish", "r-2", False),
    ]
    facts = await desk.told()
    assert [(fact["actor"], fact["action"], fact["resource_id"], fact["reasons"]) for fact in facts] == [
        ("vera", "runbook.publish", "r-1", ["role"]),
        ("vera", "runbook.publish", "r-2", ["role"]),
    ]
    assert denied.value.reason_code == "policy.role"
    assert denied.value.data["decision_id"]
    assert facts[0]["revision"]


async def test_looking_is_not_written_down(desk: Desk) -> None:
    await desk.ask(VERA, "look")
    stranger = Principal("sam", frozenset({"acme"}), frozenset())
    with pytest.raises(Denied):
        await desk.ask(stranger, "look")

    assert await desk.written() == []
    assert await desk.told() == []
