"""What a person reads from the target's ledger: nothing is decided about a call that is still under way."""

import asyncio
from pathlib import Path

import httpx

from runbook_ranger.chaos.ledger import took_effect
from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually

BODY = {"resource": "r", "ms": 0}


async def test_who_looks_while_a_call_goes_on_waits_for_its_end(tmp_path: Path) -> None:
    async with DemoTarget(tmp_path) as target, httpx.AsyncClient(base_url=target.url, trust_env=False) as ledger:

        async def asked() -> object:
            return (await target.get("/ledger"))["calls"]

        call = asyncio.ensure_future(target.post("/apply/once", BODY | {"ms": 700}, Idempotency_Key="k"))
        await eventually(asked)
        assert not (await target.get("/ledger"))["effects"]

        assert await took_effect(ledger, "k")
        assert (await call).status_code == 200


async def test_a_call_that_was_refused_or_never_came_took_no_effect(tmp_path: Path) -> None:
    async with DemoTarget(tmp_path) as target, httpx.AsyncClient(base_url=target.url, trust_env=False) as ledger:
        await target.post("/apply", BODY, Idempotency_Key="new", Rr_Fence="2")
        await target.post("/apply", BODY, Idempotency_Key="old", Rr_Fence="1")

        assert [await took_effect(ledger, key) for key in ("new", "old", "never")] == [True, False, False]
