"""What an action declares and how its result settles."""

import asyncio
import time

import pytest

from libs.actions import (
    Action,
    ActionContext,
    ActionResult,
    Arguments,
    ArgumentsInvalid,
    Effect,
    EffectRefused,
    Egress,
    Lease,
    Outcome,
    action,
    outcome,
)
from libs.actions.addresses import EgressPolicy


class Greeting(Arguments):
    name: str
    times: int = 1


@action("demo.greet", Greeting, effects=(Effect.READ, Effect.IDEMPOTENT))
async def greet(arguments: Greeting, context: ActionContext) -> ActionResult:
    """Say hello.

    More than once, if asked.
    """
    return ActionResult.succeeded({"text": f"hello {arguments.name} " * arguments.times, "key": context.idem_key})


def test_a_decorated_coroutine_is_an_action() -> None:
    assert isinstance(greet, Action)
    assert greet.name == "demo.greet"
    assert greet.summary == "Say hello."
    assert greet.effects(Greeting(name="a")) == (Effect.READ, Effect.IDEMPOTENT)


async def test_it_runs_with_its_context() -> None:
    context = ActionContext(
        idem_key="k", fence=1, execution_id="e", step_path="s", attempt=1, effect=Effect.READ,
        deadline=time.monotonic() + 5, egress=Egress(EgressPolicy()),
    )  # fmt: skip

    result = await greet.run(Greeting(name="ann"), context)

    assert result.outputs == {"text": "hello ann ", "key": "k"}


@pytest.mark.parametrize(
    "raw", [{}, {"name": 1}, {"name": "a", "times": "2"}, {"name": "a", "more": 1}, {"name": object()}, {"name": None}]
)
def test_arguments_are_strict_and_closed(raw: dict[str, object]) -> None:
    with pytest.raises(ArgumentsInvalid):
        greet.parse(raw)


def test_a_refusal_of_arguments_names_places_and_never_values() -> None:
    with pytest.raises(ArgumentsInvalid) as refusal:
        greet.parse({"name": {"password": "hunter22"}})

    assert "name" in str(refusal.value)
    assert "hunter22" not in str(refusal.value)


def test_a_step_cannot_declare_an_effect_that_the_action_does_not_promise() -> None:
    with pytest.raises(EffectRefused):
        greet.check_effect(Greeting(name="a"), Effect.KEYED)


FAILED_IN_DOUBT = ActionResult.failed("timeout", "no answer", effect_possible=True)
REFUSED = ActionResult.failed("connect_failed", "refused", effect_possible=False)
CANCELLED = ActionResult.failed("cancelled", "abort", effect_possible=False)
GOES_ON = ActionResult.failed("not_stopped", "sent", effect_possible=True)
CANCELLED_IN_DOUBT = ActionResult.failed("cancelled", "abort", effect_possible=True)


@pytest.mark.parametrize(
    ("result", "effect", "settled"),
    [
        (ActionResult.succeeded({}), Effect.UNSAFE, Outcome.SUCCEEDED),
        (FAILED_IN_DOUBT, Effect.UNSAFE, Outcome.UNKNOWN),
        (FAILED_IN_DOUBT, Effect.KEYED, Outcome.FAILED),
        (FAILED_IN_DOUBT, Effect.IDEMPOTENT, Outcome.FAILED),
        (FAILED_IN_DOUBT, Effect.READ, Outcome.FAILED),
        (REFUSED, Effect.UNSAFE, Outcome.FAILED),
        (CANCELLED, Effect.UNSAFE, Outcome.CANCELLED),
        (CANCELLED_IN_DOUBT, Effect.UNSAFE, Outcome.UNKNOWN),
        (CANCELLED_IN_DOUBT, Effect.KEYED, Outcome.CANCELLED),
        (GOES_ON, Effect.UNSAFE, Outcome.UNKNOWN),
        (GOES_ON, Effect.KEYED, Outcome.UNKNOWN),
        (GOES_ON, Effect.IDEMPOTENT, Outcome.UNKNOWN),
        (GOES_ON, Effect.READ, Outcome.FAILED),
    ],
)
def test_an_unsafe_failure_in_doubt_is_unknown_and_so_is_a_change_that_goes_on(
    result: ActionResult, effect: Effect, settled: Outcome
) -> None:
    assert outcome(result, effect) is settled


async def test_a_lease_moves_forward_only_and_wakes_who_waits() -> None:
    lease = Lease(until=10.0)
    waiting = asyncio.ensure_future(lease.changed())
    await asyncio.sleep(0)

    lease.extend(5.0)
    await asyncio.sleep(0)
    assert lease.until == 10.0
    assert not waiting.done()

    lease.extend(11.0)
    await waiting
    assert lease.until == 11.0


async def test_the_first_reason_to_cancel_stays() -> None:
    lease = Lease()

    lease.cancel("abort by ann")
    lease.cancel("kill switch")

    assert lease.cancelled == "abort by ann"
