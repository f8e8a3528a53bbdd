"""A gateway process with every kind of credential: what it is told in secret, it tells to nobody."""

import base64
import hashlib
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from tests.integration.gateway.conftest import OPERATOR, TOKENS, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.test_rangerctl import rangerctl
from tests.integration.gateway.test_webhooks import EVENT
from tests.support.eventually import eventually
from tests.support.pages import blocks
from tests.support.servers import StackEnv
from tests.unit.gateway import provider
from tests.unit.gateway.provider import KeyServer, claims, key_set, signed
from tests.unit.gateway.test_senders import NEW, OLD, PASSWORD, SENDERS, sign
from tests.unit.gateway.test_senders import TOKEN as SENDER_TOKEN

SEALED = "rrbg_" + "0123456789abcdef" * 4
WHY = {"Rr-Rationale": "nobody else is let in"}


@pytest.fixture
async def gateway(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway that knows every kind of credential."""
    files = {
        "RR_WEBHOOKS_FILE": {"senders": SENDERS},
        "RR_BREAK_GLASS_FILE": {"sha256": hashlib.sha256(SEALED.encode()).hexdigest(), "tenants": ["*"]},
        "RR_DIRECTORY_FILE": {"groups": {"storage": ["olga"]}},
        "RR_TOKENS_FILE": TOKENS,
    }
    for name, content in files.items():
        put(tmp_path / name, content)
    async with KeyServer(key_set()).served() as keys:
        env = stack_env.service(
            "gateway",
            **{name: str(tmp_path / name) for name in files},
            RR_JWT_ISSUERS=orjson.dumps([provider.issuer(keys.url)]).decode(),
            RR_TRACE_FILE=str(tmp_path / "traces.jsonl"),
            RR_LOG_LEVEL="DEBUG",
        )
        process = await GatewayProcess.start(env, tmp_path)
        try:
            yield await process.until_ready()
        finally:
            await process.end()


def put(path: Path, content: Any) -> None:
    path.write_bytes(orjson.dumps(content))


async def everything_stored(env: StackEnv, services: FakeServices) -> str:
    """Every row of the gateway's schema, and every message of every stream."""
    admin = await asyncpg.connect(env["RR_POSTGRES_URL"])
    try:
        names = await admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'gateway'")
        rows = [str(await admin.fetch(f"SELECT t.* FROM gateway.{row['tablename']} t")) for row in names]
        texts = [
            str(await admin.fetch(f"SELECT convert_from(payload, 'UTF8') FROM gateway.{table}"))
            for table in ("outbox", "dead_letter")
        ]
    finally:
        await admin.close()
    jetstream = services.client.jetstream()
    messages = []
    for info in await jetstream.streams_info():
        for seq in range(max(1, info.state.first_seq), info.state.last_seq + 1):
            message = await jetstream.get_msg(str(info.config.name), seq)
            messages.append(f"{message.headers} {message.data!r}")
    return "\n".join([*rows, *texts, *messages])


async def test_no_credential_of_any_kind_is_kept_told_or_logged(
    gateway: GatewayProcess, services: FakeServices, stack_env: StackEnv, tmp_path: Path
) -> None:
    await services.answer("*.*", {"items": [], "next": None})
    texts: list[str] = []
    alert, jwt = orjson.dumps(EVENT), signed(claims(tenants=["default"]))
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as http:

        async def ask(method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
            answer = await http.request(method, path, headers=headers, **more)
            texts.append(answer.text + str(answer.headers))
            return answer

        wanted = {"name": "ci", "expires_in_seconds": 3600}
        made = (await http.post("/tokens", json=wanted, headers=bearer(OPERATOR) | {"Idempotency-Key": "once"})).json()
        secret = made["token"].rpartition("_")[2]
        assert (
            await ask("POST", "/tokens", bearer(OPERATOR) | {"Idempotency-Key": "once"}, json=wanted)
        ).status_code == 409
        for credential in (bearer(made["token"]), bearer(jwt), bearer(SEALED) | WHY):
            for path in ("/incidents", "/principals/me", "/tokens", "/webhooks/senders", "/nothing"):
                await ask("GET", path, credential)
            assert (await ask("GET", "/incidents", credential)).status_code == 200
        stamp = str(int(time.time()))
        hmac = {"Rr-Sender": "pager", "Rr-Timestamp": stamp, "Rr-Signature": sign(OLD, stamp, alert)}
        basic = {"Authorization": "Basic " + base64.b64encode(f"am-acme:{PASSWORD}".encode()).decode()}
        for credential in (hmac, hmac, basic, bearer(SENDER_TOKEN), bearer(PASSWORD), bearer(OLD)):
            await ask("POST", "/webhooks/events", credential | {"Content-Type": "application/json"}, content=alert)
        for guess in (made["token"] + "0", jwt + "x", SEALED[:-1], "canary-of-a-guess-5678"):
            assert (await ask("GET", "/incidents", bearer(guess))).status_code == 401
        await ask("POST", f"/tokens/{made['token_id']}/revoke", bearer(OPERATOR))
        assert (await ask("GET", "/incidents", bearer(made["token"]))).status_code == 401

    async def told() -> bool:
        kinds = ("token_created", "token_revoked", "break_glass_used", "denied")
        stored = await everything_stored(stack_env, services)
        return all(f"'ce-type': 'access.{kind}'" in stored for kind in kinds)

    assert await eventually(told, timeout=15)
    stored = await everything_stored(stack_env, services)
    assert await gateway.stop() == 0
    texts += [stored, gateway.said, (tmp_path / "traces.jsonl").read_text()]
    texts += [str(asked.request) + str(asked.headers) for asked in services.asked]
    canaries = [secret, jwt.rpartition(".")[2], SEALED, OLD, NEW, PASSWORD, SENDER_TOKEN, "canary-of-a-guess", *TOKENS]
    canaries += [hmac["Rr-Signature"], basic["Authorization"].split()[1]]
    assert [(canary[:12], number) for canary in canaries for number, text in enumerate(texts) if canary in text] == []
    assert "break_glass_used" in gateway.said
    assert '"critical"' in gateway.said


async def test_a_token_is_made_used_and_revoked_from_the_command_line(gateway: GatewayProcess) -> None:
    olga = rangerctl(gateway, OPERATOR)
    code, token, said = await olga("token", "create", "ci", "--hours", "1", "--scope", "token.*")
    assert (code, token[:3]) == (0, "rr_"), said

    own = rangerctl(gateway, token.strip())
    me = orjson.loads((await own("principal", "me", "-o", "json"))[1])
    assert (me["actor"], me["scopes"]) == ("olga", ["token.*"])
    assert "token.*" in (await own("token", "list"))[1]
    assert (await own("token", "create", "more", "--hours", "1", "--scope", "incident.*"))[0] == 4

    assert (await olga("token", "revoke", me["token_id"]))[0] == 0
    assert (await own("token", "list"))[0] == 4


async def test_the_signature_on_the_page_is_the_one_that_is_asked_for(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The page's own commands, with nothing but a shell, openssl and curl."""
    [script] = [block for block in blocks("docs/identity.md", "bash") if "openssl dgst" in block]
    put(tmp_path / "alert.json", EVENT)
    (tmp_path / "pager.secret").write_text(NEW)
    env = {"PATH": os.environ["PATH"], "RANGER": gateway.url, "NO_PROXY": "127.0.0.1"}

    done = subprocess.run(  # noqa: ASYNC221 -- nothing else runs meanwhile
        ["bash", "-euc", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["accepted"] == 1
