"""`notify.send`: tell people over a channel that the operator named; a channel is a webhook that takes JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, StringConstraints

from libs.actions.api import Action, ActionContext, ActionResult, Arguments, Effect
from libs.actions.errors import EgressFailed, EgressRefused
from libs.actions.masking import Mask

SECONDS = 10.0
LOG = "log"


class NotifyArguments(Arguments):
    """Where to, and what to say."""

    channel: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    message: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    severity: Literal["low", "medium", "high", "critical"] | None = Field(default=None)


class NotifySend(Action[NotifyArguments]):
    """Post a message to a channel.

    The body is `{channel, message, severity, incident_id, execution_id, step}`; a repetition carries the same
    Idempotency-Key. The channel `log` always exists: its messages stand in the worker's log and in the timeline alone.
    Outputs: `channel`, `delivered`.
    """

    name: ClassVar[str] = "notify.send"
    summary: ClassVar[str] = "Tell people over a channel of RR_NOTIFY_CHANNELS"
    arguments = NotifyArguments

    def effects(self, arguments: NotifyArguments) -> tuple[Effect, ...]:
        """Telling twice is at worst a nuisance."""
        del arguments
        return (Effect.IDEMPOTENT, Effect.KEYED)

    async def run(self, arguments: NotifyArguments, context: ActionContext) -> ActionResult:
        """One post; a channel that nobody configured is a failure that says what to set."""
        url = context.channels.get(arguments.channel)
        if url is None and arguments.channel == LOG:
            return ActionResult.succeeded({"channel": LOG, "delivered": False})
        if url is None:
            known = ", ".join(sorted({LOG, *context.channels}))
            text = f"there is no channel {arguments.channel!r}; RR_NOTIFY_CHANNELS knows: {known}"
            return ActionResult.failed("channel_unknown", text, effect_possible=False)
        return await _post(url, arguments, context)


async def _post(url: str, arguments: NotifyArguments, context: ActionContext) -> ActionResult:
    mask = Mask((url, *context.secrets))
    headers = {"Content-Type": "application/json", "Idempotency-Key": context.idem_key}
    try:
        reply = await context.egress.request(
            "POST",
            url,
            timeout=min(SECONDS, context.step_seconds_left()),
            headers=headers,
            content=orjson.dumps(_body(arguments, context)),
        )
    except (EgressRefused, EgressFailed) as error:
        failed = isinstance(error, EgressFailed)
        text = mask.text(str(error))
        return ActionResult.failed(
            error.code, text, effect_possible=isinstance(error, EgressFailed) and error.sent, retryable=failed
        )
    evidence = {"status": reply.status, "duration_ms": reply.duration_ms}
    if 200 <= reply.status < 300:
        return ActionResult.succeeded({"channel": arguments.channel, "delivered": True}, evidence)
    retryable = reply.status >= 500 or reply.status == 429
    text = f"the channel answered {reply.status}"
    return ActionResult.failed("notify_refused", text, effect_possible=False, retryable=retryable, evidence=evidence)


def _body(arguments: NotifyArguments, context: ActionContext) -> Mapping[str, Any]:
    return {
        "channel": arguments.channel,
        "message": arguments.message,
        "severity": arguments.severity,
        "incident_id": context.incident_id,
        "execution_id": context.execution_id,
        "step": context.step_path,
    }
