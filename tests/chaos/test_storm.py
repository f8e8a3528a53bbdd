"""Storms: one alert a hundred times, hints that vanish, and a kill switch thrown while a hundred actions wait."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from libs.common.contracts.alert import SUBJECT_EVENT
from libs.common.ids import new_id
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.roles import service_url
from tests.chaos.lab import CROWD, HOLD_BEFORE, KEYED, OPEN, Lab
from tests.support import forked
from tests.support.eventually import eventually
from tests.support.stack import ROOT, Case, Stack

pytestmark = [pytest.mark.chaos, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(170)]

TIMES = 100
CROWDED = 100
SEED = 20260301


async def test_an_alert_told_a_hundred_times_at_once_is_one_incident_and_one_execution(lab: Lab) -> None:
    case, chance = lab.case(KEYED), random.Random(SEED)
    async with second_incident_process(lab.stack) as second:
        storm = asyncio.gather(over_the_bus(lab.stack, case, chance), over_the_webhook(lab.stack, case))
        await case.planned()
        lab.stack.send("incident", signal.SIGKILL)
        await storm
        await case.reaches(phase="verify")
        await case.resolve()
        await case.reaches(state="completed")
        await eventually(lab.stack.ready, timeout=60)
        await lab.stack.settled()
        assert second.returncode is None

    [counts] = await lab.stack.rows(
        "SELECT (SELECT count(*) FROM incident.incident WHERE fingerprint = $1) AS incidents,"
        " (SELECT count(*) FROM executor.execution WHERE alert->'labels'->>'case' = $1) AS executions",
        case.name,
    )
    assert tuple(counts) == (1, 1)
    assert await lab.count(case) == (1, 1)


async def test_hints_that_vanish_delay_and_lose_nothing(lab: Lab) -> None:
    await lab.hold(HOLD_BEFORE)
    cases = [lab.case(CROWD) for _ in range(10)]
    await asyncio.gather(*(case.fire() for case in cases))
    await lab.held()

    lab.stack.redis("FLUSHALL")
    later = [lab.case(CROWD) for _ in range(5)]
    await asyncio.gather(*(case.fire() for case in later))
    lab.stack.redis("FLUSHALL")
    await lab.hold(OPEN)

    for case in [*cases, *later]:
        await case.reaches(phase="verify")
        await case.resolve()
        await case.reaches(state="completed")
        assert await lab.count(case) == (1, 1)
    await lab.stack.settled()


async def test_nothing_starts_once_the_kill_switch_is_answered_and_all_completes_when_it_lets_go(lab: Lab) -> None:
    stack = lab.stack
    cases = [lab.case(CROWD) for _ in range(CROWDED)]
    for worker in stack.worker_names:
        stack.send(worker, signal.SIGSTOP)
    try:
        await asyncio.gather(*(stack.post("/webhooks/events", case.event()) for case in cases))
        await eventually(lambda: waiting(stack, cases), timeout=60, interval=0.2)
    finally:
        for worker in stack.worker_names:
            stack.send(worker, signal.SIGCONT)
    await stack.post("/kill-switch", {"engaged": True, "reason": "Drill: hold everything."})
    answered = datetime.now(UTC)

    try:
        await eventually(lambda: held_or_done(stack, cases), timeout=60, interval=0.2)
        begun = await keys_of(stack, cases, "a.started_at <= $2", answered)
        held = await keys_of(stack, cases, "a.started_at IS NULL")
        assert len(begun | held) == CROWDED, f"{CROWDED - len(begun | held)} began after the answer"
        called = {call["key"] for call in await calls_of(lab, cases)}
        assert called <= begun, "what was held back was called"
    finally:
        await stack.post("/kill-switch", {"engaged": False, "reason": "The drill is over."})

    await eventually(lambda: verifying(stack, cases), timeout=60, interval=0.2)
    await asyncio.gather(*(stack.post("/webhooks/events", case.event("resolved")) for case in cases))
    await eventually(lambda: completed(stack, cases), timeout=60, interval=0.2)
    assert len({call["key"] for call in await calls_of(lab, cases)}) == CROWDED
    await stack.settled()


# ── the storm of alerts ──────────────────────────────────────────────────────────────────────────────────────────────


async def over_the_bus(stack: Stack, case: Case, chance: random.Random) -> None:
    """Half of the reports, straight to the stream: each with an id and an order of keys of its own."""
    client = await stack.urls.bus()
    try:
        bus = client.jetstream()
        for _ in range(TIMES // 2):
            items = list(case.event(id=new_id()).items())
            chance.shuffle(items)
            await bus.publish(SUBJECT_EVENT, orjson.dumps(dict(items)), headers={"Nats-Msg-Id": new_id()})
    finally:
        await client.close()


async def over_the_webhook(stack: Stack, case: Case) -> None:
    """The other half, as Alertmanager and as our own body, all at once."""
    alertmanager = {
        "version": "4",
        "receiver": "ranger",
        "groupKey": "chaos",
        "alerts": [as_alertmanager_says(case)],
    }
    posts = [stack.post("/webhooks/events", case.event(id=new_id())) for _ in range(TIMES // 4)]
    posts += [stack.post("/webhooks/alertmanager", alertmanager) for _ in range(TIMES // 4)]
    await asyncio.gather(*posts)


def as_alertmanager_says(case: Case) -> dict[str, Any]:
    """The case's alert in Alertmanager's form: equal labels, so an equal fingerprint."""
    event = case.event()
    labels = {"alertname": event["name"], "severity": "high", **event["labels"]}
    return {
        "status": "firing",
        "labels": labels,
        "annotations": event["annotations"],
        "startsAt": event["starts_at"],
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": event["fingerprint"],
    }


@asynccontextmanager
async def second_incident_process(stack: Stack) -> AsyncIterator[forked.Process]:
    """One more `python -m services.incident` beside the supervisor's, with the same durable."""
    port = Ports.load(stack.layout.root / "second.json").claim("incident-2")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "RR_NATS_URL": stack.urls.nats,
        "RR_NATS_NKEY": stack.urls.nats_key("incident"),
        "RR_POSTGRES_URL": service_url(stack.urls.postgres, "incident", stack.layout.secret("roles")),
        "RR_INSTANCE": "incident-2",
        "RR_HEALTH_PORT": str(port),
    }

    async def answers() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).is_success
        except httpx.TransportError:
            return False

    with (stack.root / "incident-2.log").open("ab") as output:
        process = forked.start("services.incident", env=env, output=output)
    try:
        await eventually(answers, timeout=40, interval=0.1)
        yield process
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


# ── the crowd at the kill switch ─────────────────────────────────────────────────────────────────────────────────────


async def count(stack: Stack, cases: list[Case], condition: str) -> int:
    """How many of the cases have a first step, or an attempt of it, as `condition` says."""
    rows = await stack.rows(
        "SELECT count(DISTINCT execution_id) FROM executor.execution e JOIN executor.action_log a USING (execution_id)"
        f" WHERE a.path = 'act' AND e.alert->'labels'->>'case' = ANY($1::text[]) AND ({condition})",
        [case.name for case in cases],
    )
    return rows[0]["count"] if rows else -1


async def waiting(stack: Stack, cases: list[Case]) -> bool:
    """Whether every action is ready."""
    return await count(stack, cases, "a.state = 'ready'") == len(cases)


async def held_or_done(stack: Stack, cases: list[Case]) -> bool:
    """Whether each has either begun before the switch, and ended, or was turned away by it."""
    return await count(stack, cases, "a.state = 'succeeded' OR a.held_reason = 'kill_switch'") == len(cases)


async def verifying(stack: Stack, cases: list[Case]) -> bool:
    """Whether each waits for its alert's end."""
    return await count(stack, cases, "e.phase = 'verify' AND e.state = 'running'") == len(cases)


async def completed(stack: Stack, cases: list[Case]) -> bool:
    """Whether each has ended well."""
    return await count(stack, cases, "e.state = 'completed'") == len(cases)


async def keys_of(stack: Stack, cases: list[Case], condition: str, *values: Any) -> set[str]:
    """The keys of the changes of these cases that a condition holds for; a claim begins one, its call may be later."""
    rows = await stack.rows(
        "SELECT idem_key FROM executor.execution e JOIN executor.action_log a USING (execution_id)"
        f" WHERE e.alert->'labels'->>'case' = ANY($1::text[]) AND a.path = 'act' AND {condition}",
        [case.name for case in cases],
        *values,
    )
    return {row["idem_key"] for row in rows}


async def calls_of(lab: Lab, cases: list[Case]) -> list[dict[str, Any]]:
    """The target's calls that these cases made."""
    keys = await keys_of(lab.stack, cases, "true")
    return [call for call in (await lab.target.get("/ledger"))["calls"] if call["key"] in keys]
