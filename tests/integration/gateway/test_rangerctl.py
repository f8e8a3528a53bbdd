"""`rangerctl` through a real gateway to real services: an alert goes in, and the log that tells of it is verified."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.integration.gateway.conftest import EVERYWHERE, OPERATOR
from tests.integration.gateway.process import GatewayProcess
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

Ctl = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def log_keepers(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[None]:
    """The incident service and the timeline, ready."""
    names = ("incident", "timeline")
    running = [await GatewayProcess.start(stack_env.service(n), tmp_path, f"services.{n}") for n in names]
    try:
        await asyncio.gather(*(process.until_ready() for process in running))
        yield
    finally:
        await asyncio.gather(*(process.end() for process in running))


def rangerctl(gateway: GatewayProcess, token: str) -> Ctl:
    env = {"PATH": os.environ["PATH"], "RR_URL": gateway.url, "RR_TOKEN": token}

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runbook_ranger.cli", *arguments),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.mark.usefixtures("log_keepers")
async def test_the_log_of_an_alert_is_verified_for_those_who_may_see_it_until_somebody_changes_it(
    gateway: GatewayProcess, stack_env: StackEnv
) -> None:
    ctl = rangerctl(gateway, EVERYWHERE)
    assert (await ctl("alert", "post", "--name", "slow", "--label", "shard=s1"))[0] == 0

    async def incident() -> str | None:
        items = json.loads((await ctl("incident", "list", "-o", "json"))[1])["items"]
        return items[0]["incident_id"] if items else None

    async def entries() -> bool:
        shown = await ctl("timeline", "show", "--incident", incident_id, "-o", "json")
        return bool(json.loads(shown[1])["entries"])

    incident_id = await eventually(incident, timeout=30)
    assert incident_id
    await eventually(entries, timeout=30)
    code, out, err = await ctl("audit", "verify")
    assert (code, out[:17], err) == (0, "verified 2 leaves", "")  # with the first heartbeat

    # What was noted down when the incident was looked at stands in its chain; nothing else does.
    noted = json.loads((await ctl("incident", "show", incident_id, "-o", "json"))[1])["provenance_hash"]
    code, out, _ = await ctl("audit", "verify", "--provenance", f"incident:{incident_id}={noted}")
    assert (code, "number 1 of 1 in its chain" in out) == (0, True)
    code, _, err = await ctl("audit", "verify", "--provenance", f"incident:{incident_id}={'00' * 32}")
    assert (code, "is no leaf of that chain" in err) == (1, True)
    code, out, _ = await ctl("timeline", "show", "--type", "incident.*", "--since", "1h", "--text", "slow", "--newest")
    assert (code, "incident.created" in out) == (0, True)

    # A token of one tenant does not get the log of all.
    code, _, err = await rangerctl(gateway, OPERATOR)("audit", "verify")
    assert code == 4
    assert "policy.tenant" in err

    # When somebody who has the database changes what the incident was about, it shows.
    admin = await asyncpg.connect(stack_env["RR_POSTGRES_URL"])
    await admin.execute(
        "UPDATE timeline.payload SET payload = replace(convert_from(payload, 'UTF8'), 'slow', 'fast')::bytea"
    )
    await admin.close()

    code, out, err = await ctl("audit", "verify")
    assert (code, out) == (1, "")
    assert "NOT VERIFIED: leaf 1 " in err  # behind the heartbeat
    assert "does not match its commitment" in err
