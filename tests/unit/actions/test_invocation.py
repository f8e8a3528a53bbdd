"""The door to an action keeps time, bounds and secrets, whatever the action does."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from libs.actions import ActionContext, ActionResult, Arguments, Effect, Egress, Lease, action, invoke
from libs.actions.addresses import EgressPolicy
from libs.actions.api import INLINE_LIMIT, Action
from libs.actions.masking import MASK

EGRESS = Egress(EgressPolicy())
ALL = (Effect.UNSAFE, Effect.KEYED, Effect.IDEMPOTENT, Effect.READ)


class Nothing(Arguments):
    pass


def context(effect: Effect = Effect.UNSAFE, seconds: float = 10.0, **more: Any) -> ActionContext:
    return ActionContext(
        idem_key="k", fence=1, execution_id="e", step_path="s", attempt=1, effect=effect,
        deadline=time.monotonic() + seconds, egress=EGRESS, **more,
    )  # fmt: skip


@action("demo.forever", Nothing, effects=ALL)
async def forever(_arguments: Nothing, _context: ActionContext) -> ActionResult:
    """Never ends."""
    await asyncio.Event().wait()
    raise AssertionError


@action("demo.tidy", Nothing, effects=ALL)
async def tidy(_arguments: Nothing, _context: ActionContext) -> ActionResult:
    """Says what it knows when it is stopped."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return ActionResult.failed("cancelled", "before anything was sent", effect_possible=False)
    raise AssertionError


@action("demo.bug", Nothing, effects=ALL)
async def bug(_arguments: Nothing, _context: ActionContext) -> ActionResult:
    """Has a bug that talks."""
    raise RuntimeError("the password is hunter22")


def returning(result: ActionResult) -> Action[Nothing]:
    @action("demo.returning", Nothing, effects=ALL)
    async def body(_arguments: Nothing, _context: ActionContext) -> ActionResult:
        await asyncio.sleep(0)
        return result

    return body


async def test_arguments_that_do_not_fit_fail_without_effect() -> None:
    result = await invoke(forever, {"surprise": 1}, context())

    assert (result.error_code, result.effect_possible) == ("arguments_invalid", False)


async def test_an_effect_that_is_not_promised_fails_without_effect() -> None:
    @action("demo.reader", Nothing, effects=(Effect.READ,))
    async def reader(_arguments: Nothing, _context: ActionContext) -> ActionResult:
        await asyncio.sleep(0)
        return ActionResult.succeeded({})

    result = await invoke(reader, {}, context(Effect.KEYED))

    assert (result.error_code, result.effect_possible) == ("effect_refused", False)


@pytest.mark.parametrize(("effect", "possible"), [(Effect.READ, False), (Effect.KEYED, True), (Effect.UNSAFE, True)])
async def test_the_deadline_stops_an_action_in_doubt(effect: Effect, possible: bool) -> None:
    result = await invoke(forever, {}, context(effect, 0.05))

    assert (result.error_code, result.effect_possible) == ("deadline", possible)
    assert result.evidence["duration_ms"] < 2000


async def test_the_end_of_the_lease_stops_an_action() -> None:
    result = await invoke(forever, {}, context(lease=Lease(time.monotonic() + 0.05)))

    assert result.error_code == "lease_lost"


async def test_a_renewed_lease_lets_it_go_on() -> None:
    lease = Lease(time.monotonic() + 0.1)
    running = asyncio.ensure_future(invoke(forever, {}, context(lease=lease, seconds=0.6)))

    await asyncio.sleep(0)
    lease.extend(time.monotonic() + 100)

    assert (await running).error_code == "deadline"


async def test_a_cancelled_lease_stops_it_at_once() -> None:
    lease = Lease()
    running = asyncio.ensure_future(invoke(forever, {}, context(lease=lease)))
    await asyncio.sleep(0)

    lease.cancel("abort by ann")

    result = await running
    assert (result.error_code, result.effect_possible) == ("cancelled", True)


async def test_an_action_that_knows_better_is_believed() -> None:
    lease = Lease()
    running = asyncio.ensure_future(invoke(tidy, {}, context(lease=lease)))
    await asyncio.sleep(0)
    lease.cancel("abort by ann")

    assert (await running).effect_possible is False
    assert (await invoke(tidy, {}, context(seconds=0.05))).error_code == "deadline"


@pytest.mark.parametrize(("lease", "code"), [(Lease(0.0), "lease_lost"), (None, "deadline")])
async def test_nothing_starts_without_time(lease: Lease | None, code: str) -> None:
    given = context(lease=lease) if lease else context(seconds=-1)

    result = await invoke(forever, {}, given)

    assert (result.error_code, result.effect_possible) == (code, False)


async def test_nothing_starts_under_a_cancelled_lease() -> None:
    lease = Lease()
    lease.cancel("abort by ann")

    result = await invoke(forever, {}, context(lease=lease))

    assert (result.error_code, result.message, result.effect_possible) == ("cancelled", "abort by ann", False)


async def test_when_the_worker_is_cancelled_the_action_has_ended_before_the_cancellation_goes_on() -> None:
    ended: list[bool] = []

    @action("demo.slow_end", Nothing, effects=ALL)
    async def slow_end(_arguments: Nothing, _context: ActionContext) -> ActionResult:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append(True)
        raise AssertionError

    running = asyncio.ensure_future(invoke(slow_end, {}, context()))
    await asyncio.sleep(0.01)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == [True]


@pytest.mark.parametrize(("effect", "possible"), [(Effect.READ, False), (Effect.IDEMPOTENT, True)])
async def test_a_bug_in_an_action_is_in_doubt_and_does_not_talk(effect: Effect, possible: bool) -> None:
    result = await invoke(bug, {}, context(effect))

    assert (result.error_code, result.message, result.effect_possible) == ("action_crashed", "RuntimeError", possible)


async def test_outputs_are_bounded() -> None:
    result = await invoke(returning(ActionResult.succeeded({"text": "é" * INLINE_LIMIT, "status": 200})), {}, context())

    assert len(orjson.dumps(result.outputs)) <= INLINE_LIMIT
    assert result.outputs["truncated"] == ["text"]
    assert result.outputs["status"] == 200


async def test_secrets_are_masked_everywhere() -> None:
    talking = ActionResult.failed(
        "x", "the key is hunter22", effect_possible=True, outputs={"a": ["hunter22"]}, evidence={"b": "hunter22"}
    )

    result = await invoke(returning(talking), {}, context(secrets=("hunter22",)))

    assert result.message == f"the key is {MASK}"
    assert result.outputs == {"a": [MASK]}
    assert result.evidence["b"] == MASK


async def test_outputs_that_are_not_json_are_a_failure_that_keeps_its_doubt() -> None:
    result = await invoke(returning(ActionResult.succeeded({"a": object()})), {}, context())

    assert (result.ok, result.error_code, result.effect_possible) == (False, "outputs_invalid", True)
