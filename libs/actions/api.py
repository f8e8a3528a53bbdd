"""The plug-in API: what an action declares, what it is given, what it hands back.

The promise around a failure. `ActionResult.effect_possible` answers one question: *may the target have changed?*
False only when it certainly has not: refused before any byte left, the command never started, the target said no.
In every doubt it is True. For an `unsafe` action a failure with `effect_possible=True` settles as `unknown`: it is
never retried by itself, and a person or a probe decides. So does any change that `not_stopped` says goes on: whoever
came next would meet it. `outcome` is that rule.

Cancelling. The task that runs an action is cancelled when the step's deadline passes, the lease is lost or somebody
aborts. An action stops its work and either returns an `ActionResult` that says what it knows, or lets
`CancelledError` through; then the caller assumes the worst that the effect allows.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar, cast

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from libs.actions.egress import Egress
from libs.actions.errors import ArgumentsInvalid, EffectRefused
from libs.actions.shell_policy import ShellPolicy

INLINE_LIMIT = 64 * 1024
WHOLE_LIMIT = 4 * 1024 * 1024


class Effect(StrEnum):
    """What repeating an action may do."""

    READ = "read"  # changes nothing
    IDEMPOTENT = "idempotent"  # twice is the same as once
    KEYED = "keyed"  # the target recognises the idempotency key
    UNSAFE = "unsafe"  # twice may be worse than once


class Outcome(StrEnum):
    """How one attempt settles."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class Arguments(BaseModel):
    """Base of every action's arguments: strict types, no unknown names, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


A = TypeVar("A", bound=Arguments)


class Lease:
    """What a worker holds while an action runs: until when it may go on, and whether it must stop.

    Times are `time.monotonic()` of this machine. The worker moves `until` with every renewal and calls `cancel` for
    an abort; long actions wait on `changed`. Not thread-safe: one event loop.
    """

    def __init__(self, until: float = float("inf")) -> None:
        self._until = until
        self._reason: str | None = None
        self._event = asyncio.Event()

    @property
    def until(self) -> float:
        """The monotonic time at which the lease ends; an effect must be over before."""
        return self._until

    @property
    def cancelled(self) -> str | None:
        """Why the action must stop, or None."""
        return self._reason

    def extend(self, until: float) -> None:
        """The lease was renewed; it never moves back."""
        if until > self._until:
            self._until = until
            self._wake()

    def cancel(self, reason: str) -> None:
        """Stop the action; the first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._wake()

    def changed(self) -> Coroutine[Any, Any, object]:
        """Wait for the next extension or cancellation, counted from this call and not from its first await."""
        return self._event.wait()

    def _wake(self) -> None:
        self._event.set()
        self._event = asyncio.Event()


@dataclass(frozen=True, slots=True)
class ActionContext:
    """Everything an attempt may know; it holds no credential of ours.

    `deadline` is the monotonic time at which the step's own timeout ends. `secrets` are values that must not be seen
    in outputs, evidence or messages, whatever form they come back in. `channels` are webhook URLs by name.
    """

    idem_key: str
    fence: int
    execution_id: str
    step_path: str
    attempt: int
    effect: Effect
    deadline: float
    egress: Egress
    tenant_id: str = "default"
    incident_id: str | None = None
    traceparent: str | None = None
    lease: Lease = field(default_factory=Lease)
    shell: ShellPolicy = field(default_factory=ShellPolicy)
    secrets: tuple[str, ...] = ()
    channels: Mapping[str, str] = field(default_factory=dict)

    def seconds_left(self) -> float:
        """Seconds until the deadline or the lease's end, whichever is first; 0 when it has passed."""
        return max(0.0, min(self.deadline, self.lease.until) - time.monotonic())

    def step_seconds_left(self) -> float:
        """Seconds until the deadline alone: how long to wait for an answer. The lease is renewed meanwhile; whoever
        runs the action stops it when that fails.
        """
        return max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What one attempt brought.

    `outputs` is a JSON object of at most 64 KiB (what was cut is named in `outputs["truncated"]`); `whole` is what it
    was before it was `cut`, as JSON of at most 4 MiB, to be kept as an object; of an action whose outputs are also its
    log (`printed`) it is kept whether or not it was cut. `evidence` is small and flat: status or
    exit code, duration_ms, sha256 of the full output. A failure has an `error_code` and a `message`, both free of
    secrets. `effect_possible` says whether the failure may have changed the target; `retryable` whether the same
    request may later succeed.
    """

    ok: bool
    outputs: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    message: str | None = None
    retryable: bool = False
    effect_possible: bool = False
    whole: bytes | None = None
    cut: bool = False
    printed: bool = False

    @classmethod
    def succeeded(cls, outputs: dict[str, Any], evidence: Mapping[str, Any] | None = None) -> ActionResult:
        """The action did what it says."""
        return cls(ok=True, outputs=outputs, evidence=dict(evidence or {}), effect_possible=True)

    @classmethod
    def failed(
        cls,
        code: str,
        message: str,
        *,
        effect_possible: bool,
        retryable: bool = False,
        outputs: dict[str, Any] | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> ActionResult:
        """The action did not do what it says; the caller must say whether it may have done something."""
        return cls(
            ok=False,
            outputs=outputs or {},
            evidence=dict(evidence or {}),
            error_code=code,
            message=message,
            retryable=retryable,
            effect_possible=effect_possible,
        )


CANCELLED = "cancelled"
NOT_STOPPED = "not_stopped"


def outcome(result: ActionResult, effect: Effect) -> Outcome:
    """How an attempt with this result settles; `unknown` where no repetition would tell, or where it still goes on."""
    if result.ok:
        return Outcome.SUCCEEDED
    goes_on = result.error_code == NOT_STOPPED and effect is not Effect.READ
    if result.effect_possible and (effect is Effect.UNSAFE or goes_on):
        return Outcome.UNKNOWN
    if result.error_code == CANCELLED:
        return Outcome.CANCELLED
    return Outcome.FAILED


class Action(ABC, Generic[A]):
    """One kind of step. Stateless: one instance serves all attempts at once."""

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    arguments: type[A]

    def parse(self, raw: Mapping[str, Any]) -> A:
        """The arguments as the model; ArgumentsInvalid names the places, never the values."""
        try:
            return self.arguments.model_validate_json(orjson.dumps(dict(raw)))
        except TypeError:
            raise ArgumentsInvalid(self.name, ("arguments: not JSON",)) from None
        except ValidationError as error:
            problems = tuple(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors(include_input=False))
            raise ArgumentsInvalid(self.name, problems) from None

    def effects(self, arguments: A) -> tuple[Effect, ...]:
        """The effects that a step may declare with these arguments; the first is the default."""
        del arguments
        return (Effect.UNSAFE, Effect.KEYED, Effect.IDEMPOTENT, Effect.READ)

    def check_effect(self, arguments: A, effect: Effect) -> None:
        """EffectRefused when a step declares what the action cannot promise."""
        allowed = self.effects(arguments)
        if effect not in allowed:
            raise EffectRefused(self.name, effect.value, tuple(e.value for e in allowed))

    def resource(self, arguments: A) -> str | None:
        """What a mutation touches, when the arguments say it; a step's own `resource` goes first."""
        del arguments
        return None

    def tags_url(self, arguments: A) -> str | None:
        """Where the target's tags are read before a mutation; None: the action names no target that has any."""
        del arguments
        return None

    @abstractmethod
    async def run(self, arguments: A, context: ActionContext) -> ActionResult:
        """Carry the action out once. Expected failures are results; an exception is a bug and counts as possible."""


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "arguments"


Body = Callable[[A, ActionContext], Awaitable[ActionResult]]


def action(name: str, arguments: type[A], *, effects: tuple[Effect, ...]) -> Callable[[Body[A]], Action[A]]:
    """An action made of one coroutine function; `effects` as in `Action.effects`, the first is the default."""

    def wrap(body: Body[A]) -> Action[A]:
        async def run(_self: Action[A], values: A, context: ActionContext) -> ActionResult:
            return await body(values, context)

        members = {
            "name": name,
            "summary": (body.__doc__ or "").strip().partition("\n")[0],
            "arguments": arguments,
            "effects": lambda _self, _values: effects,
            "run": run,
        }
        return cast("Action[A]", type(f"Action_{name.replace('.', '_')}", (Action,), members)())

    return wrap
