"""Keys and rights that change while the bus runs: both keys are let in, then one; what was allowed, then is not."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from libs.common import bus as bus_module
from libs.common.bus import Bus, Outgoing, Stored
from libs.common.contracts.choreography import EVENTS
from libs.common.denials import NotPermitted
from libs.common.puller import Puller
from runbook_ranger.stack import keyring
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.messaging import administrator
from runbook_ranger.stack.nkeys import new_seed
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.servers.nats import Nats
from tests.support import scratch
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack
TAKE = f'    "$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.catalog",\n'


@pytest.fixture
def nats() -> Iterator[Nats]:
    """A server of the test's own."""
    root = scratch.folder("rr-keys-")
    root.chmod(0o711)
    found = Nats(Layout.open(root), Ports.load(root / "ports.json"))
    found.start_and_wait()
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(root)


async def reload(nats: Nats) -> None:
    """Let the server read its configuration again; returns when that counts."""
    assert nats.process is not None
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{nats.monitor}", trust_env=False) as monitor:

        async def loaded() -> str:
            return str((await monitor.get("/varz")).json()["config_load_time"])

        async def changed() -> bool:
            return await loaded() != before

        before = await loaded()
        nats.process.send_signal(signal.SIGHUP)
        await eventually(changed)


async def signed_in(nats: Nats, identity: str, seed: str) -> Bus:
    bus = Bus(nats.url(), name="keys-test", identity=identity, nkey=SecretStr(seed))
    await bus.connect()
    return bus


async def provisioned(nats: Nats) -> None:
    """A stream with the catalog's consumer."""
    client = await administrator(nats.url(), keyring.seed(nats.keys, keyring.ADMIN))
    try:
        await client.jetstream().add_stream(name=EVENTS, subjects=["incident.*"])
        await client.jetstream().add_consumer(EVENTS, name="catalog", durable_name="catalog", ack_policy="explicit")
    finally:
        await client.close()


async def test_a_key_is_changed_without_a_moment_in_which_nobody_is_let_in(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provisioned(nats)
    old, new = keyring.seed(nats.keys, "incident"), new_seed()
    before = await signed_in(nats, "incident", old)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    keyring.path(nats.keys, "incident").rename(nats.keys / "incident.old.nk")
    keyring.path(nats.keys, "incident").write_text(new)
    nats.prepare()
    await reload(nats)
    after = await signed_in(nats, "incident", new)
    for bus in (before, after):
        assert isinstance((await bus.publish([Outgoing("incident.created", b"{}", {})]))[0], Stored)
    assert ended == []

    (nats.keys / "incident.old.nk").unlink()
    nats.prepare()
    await reload(nats)

    await eventually(lambda: set(ended) == {bus_module.EXIT_CLOSED})  # its process would be started again
    assert isinstance((await after.publish([Outgoing("incident.created", b"{}", {})]))[0], Stored)
    for bus in (before, after):
        await bus.close()


async def test_a_consumer_that_may_no_longer_take_says_so_instead_of_waiting(nats: Nats) -> None:
    await provisioned(nats)
    text = nats.configuration.read_text()
    assert TAKE in text
    nats.configuration.write_text(text.replace(TAKE, ""))
    await reload(nats)
    bus = await signed_in(nats, "catalog", keyring.seed(nats.keys, "catalog"))
    puller = Puller(bus, stream=EVENTS, durable="catalog", batch=1)
    await puller.start()
    with pytest.raises(NotPermitted, match=rf"publish \$JS\.API\.CONSUMER\.MSG\.NEXT\.{EVENTS}\.catalog"):
        await puller.next()
    await puller.stop()
    await bus.close()
