"""One action, hinted twice to one worker at the same time: it is carried out once, and its lease is kept."""

import asyncio

import pytest

from libs.actions import ActionContext, ActionResult, Arguments, Effect, action
from services.executor.hints import STREAMS
from services.executor.model import Attempt
from services.executor.settings import ExecutorSettings
from services.executor.worker.attempts import Entry
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.hands import Hands, hands
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack


class Nothing(Arguments):
    """No arguments."""


async def test_two_hints_of_an_unsafe_action_are_one_effect(bench: Bench) -> None:
    effects: list[int] = []

    @action("test.count", Nothing, effects=(Effect.UNSAFE,))
    async def count(_arguments: Nothing, context: ActionContext) -> ActionResult:
        effects.append(context.fence)
        await asyncio.sleep(0)
        return ActionResult.succeeded({})

    execution = await bench.execution(runbook({**step(effect="unsafe"), "action": "test.count", "with": {}}))
    [ready] = await bench.ready(execution)

    async with hands(bench, count) as worker:
        await twice(worker, ready)

    assert len(effects) == 1
    assert [row["state"] for row in await bench.attempts(execution)] == ["succeeded"]


async def test_a_hint_that_comes_too_late_leaves_the_lease_of_what_runs_alone(bench: Bench) -> None:
    bench.settings = ExecutorSettings(lease_seconds=1, lease_renew_seconds=0.2)
    begun, released = asyncio.Event(), asyncio.Event()

    @action("test.hold", Nothing, effects=(Effect.UNSAFE,))
    async def hold(_arguments: Nothing, _context: ActionContext) -> ActionResult:
        begun.set()
        await released.wait()
        return ActionResult.succeeded({})

    execution = await bench.execution(runbook({**step(effect="unsafe"), "action": "test.hold", "with": {}}))
    [ready] = await bench.ready(execution)

    async with hands(bench, hold) as worker:
        both = asyncio.create_task(twice(worker, ready))
        await begun.wait()
        [row] = await bench.attempts(execution)
        await eventually(lambda: renewed(bench, execution, row["lease_until"]))
        released.set()
        await both

    assert [row["state"] for row in await bench.attempts(execution)] == ["succeeded"]


async def twice(worker: Hands, attempt: Attempt) -> None:
    """Both hints were read before either is claimed."""
    await asyncio.gather(*(worker.worker._attempt(attempt, Entry(s, b"0-1", attempt.action_id, "")) for s in STREAMS))


async def renewed(bench: Bench, execution: str, before: object) -> bool:
    """Whether the lease has been moved since."""
    [row] = await bench.attempts(execution)
    return bool(row["lease_until"] != before)
