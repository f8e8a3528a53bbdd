"""What guards would say to an execution that is only thought of: read in a transaction that cannot write."""

from collections.abc import Mapping
from typing import Any

import pytest

from libs.runbook.spec import Runbook
from services.executor import hindrances
from services.executor.guards import outlook
from tests.integration.executor.bench import TENANT, Bench, runbook, step
from tests.integration.executor.guarding import begun, finish, limited, move_window

pytestmark = pytest.mark.stack
KEYS = {"concurrency": "storage"}


async def thought_of(bench: Bench, spec: Runbook, *, keys: Mapping[str, str] | None = None) -> list[tuple[str, ...]]:
    """What would stand in its way: kind, code and text."""
    async with bench.database.transaction("outlook", snapshot=True) as tx:
        found = await outlook.hindrances(tx, TENANT, spec, keys or {}, ["shard"])
    return [(item["kind"], item["code"], item["text"]) for item in found]


async def test_nothing_stands_in_the_way_of_what_meets_nobody(bench: Bench) -> None:
    every = {
        "rate_limit": {"executions": 1, "per": "1m"},
        "budget": {"resources": 1, "window": "1h"},
        "cooldown": "1h",
        "breaker": {"failures": 1, "window": "1h"},
    }
    spec = runbook(step(), concurrency=limited().to_json()["concurrency"], **every)

    assert await thought_of(bench, spec, keys=KEYS) == []
    assert await thought_of(bench, runbook()) == []


@pytest.mark.parametrize(
    ("policy", "kind", "said"),
    [
        ("queue", "waits", "It would be number 2 in the queue of 'storage', held by {first}."),
        ("reject", "refused", "No place is free under 'storage': held by {first}."),
        ("replace", "waits", "It would replace what holds a place under 'storage': {first}."),
    ],
)
async def test_it_says_who_holds_the_place(bench: Bench, policy: str, kind: str, said: str) -> None:
    first, _ = [await begun(bench, limited()) for _ in range(2)]

    found = await thought_of(bench, limited(policy), keys=KEYS)

    assert found == [(kind, "concurrency", said.format(first=first))]


async def test_it_says_when_the_rate_lets_it_again(bench: Bench) -> None:
    spec = runbook(step(), rate_limit={"executions": 1, "per": "1m"})
    await begun(bench, spec)

    [(kind, code, text)] = await thought_of(bench, spec)

    assert (kind, code) == ("refused", "rate")
    assert text.startswith("1 execution has begun within 1m; it may run again at ")
    await move_window(bench, 61)
    assert await thought_of(bench, spec) == []


async def test_it_says_what_would_hold_a_change(bench: Bench) -> None:
    broken = runbook(step(), breaker={"failures": 1, "window": "1h"}, cooldown="1h")
    await finish(bench, await begun(bench, broken), well=False)
    resting = runbook(step(), id="rest", cooldown="1h")
    await finish(bench, await begun(bench, resting))
    full = runbook(step(resource="other"), id="full", budget={"resources": 1, "window": "1h"})
    await finish(bench, await begun(bench, full))

    said = [(await thought_of(bench, spec))[0] for spec in (broken, resting, full)]

    assert [each[:2] for each in said] == [("waits", "breaker"), ("waits", "cooldown"), ("waits", "budget")]
    assert said[0][2] == "Runbook mend has failed once on shard within 1h."
    assert said[2][2].startswith("1 of 1 resources were changed within 1h (other)")


def test_each_is_told_of_the_start_or_of_the_step_that_would_meet_it() -> None:
    guard = {"kind": "waits", "text": "…", "fix": "…"}
    guards = [{**guard, "code": "concurrency", "resource": None}, {**guard, "code": "budget", "resource": "shard"}]
    plain: dict[str, Any] = {
        "faults": [], "policy": None, "requires_firing": False, "mutating": True, "approval": False, "type": "action",
        "holder": None, "applies": True,
    }  # fmt: skip
    preview = {
        "policy": {"start": {"allow": True}},
        "alert": None,
        "kill_switch": {"holds": False},
        "steps": [{**plain, "step": "one", "resource": "shard"}, {**plain, "step": "two", "resource": "other"}],
        "guards": guards,
    }

    found = [(item["code"], item["step"]) for item in hindrances.of(preview)]

    assert found == [("concurrency", None), ("budget", "one")]
