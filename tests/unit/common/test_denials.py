"""The server's errors are told apart: what it does not permit, whom it does not know, and everything else."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest

from libs.common.denials import Denials, NotPermitted, kind

PUBLISH = 'nats: permissions violation for publish to "{}"'
SUBSCRIBE = 'nats: permissions violation for subscription to "{}" using queue "incident"'


def said(text: str) -> nats.errors.Error:
    return nats.errors.Error(text)


async def test_who_waits_for_a_denied_subject_is_refused_at_once_and_others_wait_on() -> None:
    denials = Denials()

    async def waiting(subject: str) -> None:
        async with denials.unless_denied(subject):
            await asyncio.sleep(30)

    first, second, other = (asyncio.create_task(waiting(subject)) for subject in ("a.B", "a.B", "a.c"))
    await asyncio.sleep(0)
    for _ in range(2):  # a second one changes nothing
        denied = denials.hear(said(PUBLISH.format("a.b")))
    await asyncio.wait({first, second}, timeout=5)

    assert denied is not None
    for task in (first, second):
        with pytest.raises(NotPermitted, match=r"^nats: not permitted: publish a\.B$|^not permitted: publish a\.B$"):
            await task
    assert not other.done()
    other.cancel()


async def test_a_time_out_of_ones_own_stays_one() -> None:
    denials = Denials()

    with pytest.raises(TimeoutError) as late:
        async with denials.unless_denied("a.b"), asyncio.timeout(0):
            await asyncio.sleep(1)
    assert not isinstance(late.value, NotPermitted)
    with pytest.raises(nats.errors.TimeoutError):
        async with denials.unless_denied("a.b"):
            raise nats.errors.TimeoutError


async def test_a_denied_subscription_is_known_to_whoever_asks_and_once() -> None:
    denials = Denials()
    denials.hear(said(SUBSCRIBE.format("rpc.catalog.get")))

    denials.check("rpc.incident.get")
    with pytest.raises(NotPermitted, match=r"subscribe rpc\.catalog\.Get"):
        denials.check("rpc.catalog.Get")
    denials.check_all()


async def test_a_watcher_is_called_for_its_subject_and_the_last_one_counts() -> None:
    denials, called = Denials(), list[str]()
    denials.watch("$JS.API.X", lambda _: called.append("first"))
    denials.watch("$JS.API.X", lambda denied: called.append(denied.subject))

    denials.hear(said(PUBLISH.format("$js.api.x")))
    denials.hear(said(PUBLISH.format("$js.api.y")))

    assert called == ["$js.api.x"]


@pytest.mark.parametrize(
    "text", ["nats: 'Authorization Violation'", "nats: stale connection", "[Errno 111] Connect call failed", ""]
)
async def test_other_errors_are_no_denials(text: str) -> None:
    assert Denials().hear(said(text)) is None


@pytest.mark.parametrize(
    ("subject", "label"),
    [
        ("incident.created", "fact"),
        ("access.denied", "fact"),
        ("alert.event", "intake"),
        ("rpc.catalog.get", "rpc"),
        ("$JS.API.STREAM.DELETE.EVENTS", "jetstream"),
        ("_INBOX_gateway.abc", "inbox"),
        ("dlq.incident:EVENTS", "dead_letter"),
        ("timeline.position", "other"),
    ],
)
def test_a_label_is_one_of_a_handful(subject: str, label: str) -> None:
    assert kind(subject) == label
