"""A service's process: it says what it waits for, names what is down, and ends when it can do no good."""

from __future__ import annotations

import signal

import orjson
import pytest

from libs.common.errors import Unavailable
from libs.common.health import EXIT_STALLED
from libs.common.policy import Principal
from libs.common.process import EXIT_PART_FAILED
from libs.common.rpc import RpcClient
from runbook_ranger.stack import keyring
from tests.integration.common.lab import Lab, Probe, fact
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack

ADA = Principal("ada", frozenset({"acme"}), frozenset({"operator"}))


async def down(probe: Probe) -> set[str]:
    """The dependencies that `/readyz` says are down, when it answers 503."""
    status, text = await probe.status()
    if status != 503:
        return set()
    return {name for name, check in orjson.loads(text)["checks"].items() if check["status"] == "down"}


async def test_readiness_names_what_is_down_and_returns_with_it(lab: Lab, servers: Servers) -> None:
    probe = await lab.probe("catalog")

    async def only(name: str) -> bool:
        return await down(probe) == {name}

    servers.kill(servers.postgres)
    await eventually(lambda: only("postgres"))
    assert (await probe.status("/healthz"))[0] == 200
    servers.restart(servers.postgres)
    await eventually(probe.ready)

    servers.kill(servers.nats)
    await eventually(lambda: only("nats"))
    assert (await probe.status("/healthz"))[0] == 200
    servers.restart(servers.nats)
    await eventually(probe.ready)
    await eventually(lambda: bool(lab.bus.nc.is_connected))

    await lab.publish([fact("a", 1)])

    async def applied() -> bool:
        status, text = await probe.status("/metrics")
        return status == 200 and 'ranger_consumed_total{consumer="catalog:EVENTS",outcome="applied"} 1.0' in text

    await eventually(applied)
    assert (await probe.status("/other"))[0] == 404


async def test_a_process_that_starts_before_its_servers_waits_and_says_for_what(lab: Lab, servers: Servers) -> None:
    servers.kill(servers.postgres)
    probe = await lab.probe("catalog", wait=False)

    async def waits() -> bool:
        return "waiting for postgres" in (await probe.status())[1]

    await eventually(waits, timeout=20)
    servers.restart(servers.postgres)

    await eventually(probe.ready, timeout=20)


async def test_a_loop_that_stands_still_ends_the_process(lab: Lab) -> None:
    probe = await lab.probe("incident", RR_WATCHDOG_SECONDS="2")

    with pytest.raises(Unavailable):
        await RpcClient(lab.bus, timeout=0.2).ask("incident", "stall", {}, principal=ADA, tenant="acme")

    assert await probe.exit_code() == EXIT_STALLED
    assert "loop_stalled" in probe.output.read_text()


async def test_a_process_that_was_stopped_and_goes_on_is_not_taken_for_a_stalled_one(lab: Lab) -> None:
    """SIGSTOP freezes clock and loop together; a suspended laptop does the same."""
    probe = await lab.probe("incident", RR_WATCHDOG_SECONDS="2")
    probe.process.send_signal(signal.SIGSTOP)
    other = await lab.probe("catalog")
    assert await other.ready()
    probe.process.send_signal(signal.SIGCONT)

    await eventually(probe.ready)


async def test_a_part_that_fails_ends_the_process(lab: Lab) -> None:
    await lab.bus.js.delete_consumer("EVENTS", "catalog")

    probe = await lab.probe("catalog", wait=False)

    assert await probe.exit_code() == EXIT_PART_FAILED
    assert "part_failed" in probe.output.read_text()


async def test_a_request_to_stop_ends_it_in_order(lab: Lab) -> None:
    probe = await lab.probe("catalog")

    probe.process.terminate()

    assert await probe.exit_code() == 0
    text = probe.output.read_text()
    assert '"stopped"' in text
    assert '"level": "error"' not in text
    assert "Traceback" not in text


async def test_no_log_of_a_process_shows_a_password_or_a_key(lab: Lab, servers: Servers) -> None:
    key = keyring.seed(servers.nats.keys, "catalog")
    probe = await lab.probe("catalog", RR_LOG_LEVEL="DEBUG")
    servers.kill(servers.nats)

    async def not_ready() -> bool:
        return await down(probe) == {"nats"}

    await eventually(not_ready)

    text = probe.output.read_text()
    url = lab.env.service("catalog")["RR_POSTGRES_URL"]
    for secret in (url.partition("//")[2].partition("@")[0].partition(":")[2], key):
        assert len(secret) > 10
        assert secret not in text
