"""What became of an action, as its settlement says it."""

from typing import Final

from libs.actions import ActionResult, Effect, Outcome, outcome
from libs.common import telemetry
from services.executor.model import Attempt, Ending, Settlement

_ENDINGS: Final[dict[Outcome, Ending]] = {
    Outcome.SUCCEEDED: "succeed",
    Outcome.FAILED: "fail",
    Outcome.CANCELLED: "fail",
    Outcome.UNKNOWN: "doubt",
}


def settlement_of(attempt: Attempt, result: ActionResult, *, going_on: bool) -> Settlement:
    """How the attempt ended; `going_on` where its worker has room for the step that follows."""
    return Settlement(
        attempt=attempt,
        ending=_ENDINGS[outcome(result, Effect(attempt.effect))],
        outputs=result.outputs,
        evidence=result.evidence,
        error_code=result.error_code or "",
        message=result.message or "",
        retryable=result.retryable,
        traceparent=telemetry.traceparent(),
        going_on=going_on,
    )
