"""The log as one stream through the gateway: from real processes into files that verify without them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.bus import Bus
from libs.tlog.note import Signer
from libs.tlog.secretkey import private_text
from tests.integration.gateway.conftest import EVERYWHERE, OPERATOR, TOKENS, TWO_TENANTS, bearer
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.stream import publish
from tests.integration.gateway.test_rangerctl import rangerctl
from tests.integration.gateway.test_timeline import INCIDENT, fact
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

ORIGIN = "ranger.local/timeline/main"
KEY = Signer(ORIGIN, b"\x07" * 32)
SECRET = "canary-title-of-acme"


@pytest.fixture
async def log_keeper(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """The timeline, which signs."""
    (tmp_path / "timeline.key").write_text(f"{private_text(KEY)}\n")
    more = {"RR_TIMELINE_KEY_FILE": str(tmp_path / "timeline.key"), "RR_OBJECTS_DIR": str(tmp_path / "published")}
    process = await GatewayProcess.start(stack_env.service("timeline", **more), tmp_path, "services.timeline")
    try:
        yield await process.until_ready()
    finally:
        await process.end()


async def told(bus: Bus, http: httpx.AsyncClient, size: int, *payloads: dict[str, Any], tenant: str) -> None:
    """So many events more, once a checkpoint covers `size` leaves."""
    for number, payload in enumerate(payloads, size):
        event = fact("incident.status_changed", INCIDENT, number, payload=json.dumps(payload).encode(), tenant=tenant)
        await publish(bus, event)

    async def signed() -> bool:
        answer = await http.get("/timeline/checkpoint")
        return answer.is_success and answer.json()["size"] >= size

    await eventually(signed, timeout=30)


@pytest.mark.usefixtures("log_keeper")
async def test_the_log_goes_into_files_that_verify_without_us(
    gateway: GatewayProcess, bus: Bus, tmp_path: Path, stack_env: StackEnv
) -> None:
    ctl, vkey, folder = rangerctl(gateway, EVERYWHERE), KEY.verifier.vkey, tmp_path / "kept"
    folder.mkdir()
    async with httpx.AsyncClient(base_url=gateway.url, headers=bearer(OPERATOR)) as http:
        # The log begins with a heartbeat; one payload is longer than any reply of the bus.
        long = {"title": "mine", "text": "x" * 700_000}
        await told(bus, http, 4, {"title": SECRET}, long, {"title": "mine"}, tenant="default")
        code, out, err = await ctl("audit", "export", "-o", str(folder), "--vkey", vkey)
        assert (code, "leaves 0 to 4" in out, err) == (0, True, "")
        await told(bus, http, 6, {"title": SECRET}, {"title": SECRET}, tenant="acme")
        assert (await ctl("audit", "export", "-o", str(folder)))[0] == 0

        code, out, err = await ctl("audit", "verify", str(folder), "--vkey", vkey)
        assert (code, "export: 6 leaves (1 control, 5 event)" in out, err) == (0, True, "")

        # One file of the same log; cut where it tears, it becomes the same file again.
        file = tmp_path / "log.jsonl"
        assert (await ctl("audit", "export", "-o", str(file)))[0] == 0
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) * 2 // 3])
        assert (await ctl("audit", "export", "-o", str(file)))[0] == 0
        assert file.read_bytes() == whole

        # Somebody of one tenant gets theirs, and of the rest what the tree needs.
        for token, tenant, mine in ((OPERATOR, "default", 3), (TWO_TENANTS, "acme", 2)):
            answer = await http.get("/timeline/export", headers=bearer(token) | {"Rr-Tenant": tenant})
            assert answer.headers["content-type"] == "application/x-ndjson"
            (tmp_path / tenant).write_bytes(answer.content)
            code, out, _ = await ctl("audit", "verify", str(tmp_path / tenant), "--vkey", vkey)
            assert (code, f"{mine} event" in out, f"{5 - mine} leaves are withheld" in out) == (0, True, True)
        assert b"acme" not in (tmp_path / "default").read_bytes()
        # What ends before the log says that a payload is gone goes on until it does.
        admin = await asyncpg.connect(stack_env["RR_POSTGRES_URL"], server_settings={"search_path": "timeline"})
        await admin.execute("DELETE FROM payload WHERE index = 1")
        await admin.execute("""INSERT INTO control (body) VALUES ('{"type": "redaction", "of": "1"}')""")
        await admin.close()
        await told(bus, http, 7, tenant="default")
        assert (await ctl("audit", "export", "-o", str(tmp_path / "late.jsonl"), "--to", "2"))[0] == 0
        code, out, _ = await ctl("audit", "verify", str(tmp_path / "late.jsonl"), "--vkey", vkey)
        assert (code, "redacted: the payloads of leaves 1" in out) == (0, True)
        for hidden in [*TOKENS, str(tmp_path), "PRIVATE"]:
            assert hidden.encode() not in whole


@pytest.mark.usefixtures("log_keeper")
async def test_what_may_not_be_exported_is_refused_before_the_first_byte(gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, headers=bearer(OPERATOR)) as http:
        await eventually(lambda: _signed(http), timeout=30)
        refused = await asyncio.gather(
            http.get("/timeline/export", headers={"Rr-Tenant": "acme"}),
            http.get("/timeline/export", params={"first": 99}),
            http.get("/timeline/export", params={"to": 99}),
            http.get("/timeline/export", params={"first": 0, "since": "2026-03-01T10:00:00Z"}),
        )
    assert [answer.status_code for answer in refused] == [403, 422, 404, 422]


async def _signed(http: httpx.AsyncClient) -> bool:
    return (await http.get("/timeline/checkpoint")).is_success
