"""The one door to an action: arguments checked, deadline and lease kept, outputs bounded, secrets masked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson

from libs.actions.api import (
    CANCELLED,
    INLINE_LIMIT,
    NOT_STOPPED,
    WHOLE_LIMIT,
    Action,
    ActionContext,
    ActionResult,
    Effect,
)
from libs.actions.bounds import bounded
from libs.actions.errors import ActionError
from libs.actions.masking import Mask

MESSAGE_LIMIT = 2048
EVIDENCE_LIMIT = 8 * 1024
STOP_SECONDS = 5.0  # how long a cancelled action may take to say what it knows


async def invoke(action: Action[Any], raw: Mapping[str, Any], context: ActionContext) -> ActionResult:
    """Carry out one attempt. Never raises but CancelledError, and then only after the action has stopped.

    Arguments that do not fit, refusals and an attempt without time left are failures without effect. An exception of
    the action is `action_crashed`, and its effect possible unless it is declared `read`.
    """
    started = time.monotonic()
    try:
        arguments = action.parse(raw)
        action.check_effect(arguments, context.effect)
    except ActionError as error:
        return _finished(ActionResult.failed(error.code, str(error), effect_possible=False), context, started)
    code = _reason_to_stop(context)
    if code is not None:
        reason = context.lease.cancelled or "no time was left to start"
        return _finished(ActionResult.failed(code, reason, effect_possible=False), context, started)
    task = asyncio.ensure_future(action.run(arguments, context))
    try:
        stopped_by = await _watched(task, context)
    except asyncio.CancelledError:
        await _stopped(task)
        raise
    result = _settled(task, stopped_by, context.effect)
    return _finished(result, context, started)


async def _watched(task: asyncio.Future[ActionResult], context: ActionContext) -> str | None:
    """Wait for the task; on the deadline, the lease's end or a cancellation stop it and say which it was."""
    while not task.done():
        reason = _reason_to_stop(context)
        if reason is not None:
            await _stopped(task)
            return reason
        change = asyncio.ensure_future(context.lease.changed())
        either: set[asyncio.Future[Any]] = {task, change}
        try:
            await asyncio.wait(either, timeout=context.seconds_left(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()
    return None


def _reason_to_stop(context: ActionContext) -> str | None:
    if context.lease.cancelled:
        return CANCELLED
    if context.seconds_left() > 0:
        return None
    return "deadline" if context.deadline <= context.lease.until else "lease_lost"


async def _stopped(task: asyncio.Future[ActionResult]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=STOP_SECONDS)


def _settled(task: asyncio.Future[ActionResult], stopped_by: str | None, effect: Effect) -> ActionResult:
    possible = effect is not Effect.READ
    if not task.done():
        return ActionResult.failed(NOT_STOPPED, "the action did not stop when told to", effect_possible=possible)
    if task.cancelled():
        return ActionResult.failed(
            stopped_by or CANCELLED, "stopped before it was done", effect_possible=possible, retryable=True
        )
    error = task.exception()
    if isinstance(error, ActionError):
        return ActionResult.failed(error.code, str(error), effect_possible=getattr(error, "sent", False))
    if error is not None:
        # Only the kind: the text of an unforeseen error may hold anything.
        return ActionResult.failed("action_crashed", type(error).__name__, effect_possible=possible)
    result = task.result()
    if stopped_by and not result.ok and result.error_code == CANCELLED:
        return replace(result, error_code=stopped_by)
    return result


def _finished(result: ActionResult, context: ActionContext, started: float) -> ActionResult:
    mask = Mask(context.secrets)
    evidence = {"duration_ms": round((time.monotonic() - started) * 1000, 3)} | result.evidence
    try:
        outputs = mask.value(result.outputs)
        whole = orjson.dumps(outputs)
        cut = len(whole) > INLINE_LIMIT
        return replace(
            result,
            outputs=bounded(outputs, INLINE_LIMIT),
            whole=whole if (cut or result.printed) and len(whole) <= WHOLE_LIMIT else None,
            cut=cut,
            evidence=bounded(mask.value(evidence), EVIDENCE_LIMIT),
            message=mask.text(result.message)[:MESSAGE_LIMIT] if result.message is not None else None,
        )
    except TypeError:
        kept = {"duration_ms": evidence["duration_ms"]}
        text = "the action's outputs are not JSON"
        with suppress(TypeError):
            kept = bounded(mask.value(evidence), EVIDENCE_LIMIT)
        return ActionResult.failed("outputs_invalid", text, effect_possible=result.effect_possible, evidence=kept)
