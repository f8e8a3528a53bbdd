"""Refusals of the executor's commands, named after what stands against them.

Refusal
├── NotFound   ExecutionNotFound   missing, or another tenant's: the same answer
│              StepNotFound        the runbook has no such step
│              NoSuchLock          nothing is held there
└── Conflict   StepNotUnknown      nobody needs to decide it
               StepNotManual       it does not wait for a person
               EvidenceMissing     high risk is completed under a grant, and with evidence
               GrantRefused        the approval that was named is not good for it: `grants` has the reasons
               ExecutionEnded      a terminal state never changes
               BreakerNotOpen      nothing is held back there
               AlreadyPaused, NotPaused, AlreadyRollingBack
               StepNotSkippable    it is under way, has ended, or is a question
               StepNotAsking       nobody is asked how it goes on
               SignalUnheard       no step waits for that event
               NotRetryable        there is nothing to go on with, or too much in doubt

A move that the state does not allow names both ends: `data` has the `state` it is in (of a step also what it is
`waiting_for`), the `trigger` that was pulled and the `target` that it would have led to.
"""

from typing import Final

from libs.common.errors import Conflict, NotFound
from services.executor.grants import BEGIN_AGAIN, NAME_ITS_OWN, Fault, Wanted

NOT_REACHED: Final = "not_reached"
"""The state of a step that the execution has not come to."""


class ExecutionNotFound(NotFound):
    """There is no such execution for this caller."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(
            f"There is no execution {execution_id}.",
            fix="`rangerctl execution list` shows what there is.",
            code="execution_not_found",
        )


class StepNotFound(NotFound):
    """The execution's runbook has no such step."""

    def __init__(self, execution_id: str, step: str) -> None:
        super().__init__(
            f"Execution {execution_id} has no step {step}.",
            fix="`rangerctl execution show` lists its steps.",
            code="step_not_found",
        )


class StepNotUnknown(Conflict):
    """Only a step whose outcome nobody knows is decided by a person."""

    def __init__(self, step: str, state: str, waiting_for: str, decision: str) -> None:
        super().__init__(
            f"Step {step} is {_told(state, waiting_for)}, not unknown: it cannot be decided as {decision}.",
            fix="`rangerctl execution show` tells its state.",
            code="step_not_unknown",
            step=step,
            state=state,
            waiting_for=waiting_for,
            trigger="decide",
            target=decision,
        )


class StepNotManual(Conflict):
    """Only a manual step that waits for a person is completed by one."""

    def __init__(self, step: str, state: str, waiting_for: str, outcome: str) -> None:
        super().__init__(
            f"Step {step} is {_told(state, waiting_for)}; only one that waits for a person can be told as {outcome}.",
            fix="`rangerctl execution show` tells what it waits for.",
            code="step_not_manual",
            step=step,
            state=state,
            waiting_for=waiting_for,
            trigger="complete",
            target=outcome,
        )


class EvidenceMissing(Conflict):
    """A step of high risk is completed only under a grant for this plan and step, and with evidence."""

    def __init__(self, step: str, what: str) -> None:
        super().__init__(
            f"Step {step} is of high risk: {what}.",
            fix="Name the approval's id in approval_ids and what proves the work in evidence_ref.",
            code="evidence_missing",
        )


class GrantRefused(Conflict):
    """None of the approvals that were named may be used for the step; `code` is the reason, as `grants` lists them.

    `data` has the approval that comes closest, what that one was granted for, and what the step is now, by hash.
    """

    def __init__(self, step: str, fault: Fault, wanted: Wanted) -> None:
        own = fault.grant is not None and fault.grant.step_run_id == wanted.step_run_id
        super().__init__(
            f"Step {step} was not completed. {fault.sentence}",
            fix=BEGIN_AGAIN if own else NAME_ITS_OWN,
            code=fault.code,
            step=step,
            **fault.told(wanted),
        )


class ExecutionEnded(Conflict):
    """A terminal state never changes."""

    def __init__(self, execution_id: str, state: str, trigger: str, target: str) -> None:
        super().__init__(
            f"Execution {execution_id} is {state}, which is final: it cannot become {target} ({trigger}).",
            fix="Begin the runbook again where there is something left to do.",
            code="execution_ended",
            state=state,
            trigger=trigger,
            target=target,
        )


class AlreadyPaused(Conflict):
    """It is paused."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(
            f"Execution {execution_id} is paused: it cannot be paused once more.",
            fix="`rangerctl execution resume` lets it go on.",
            code="already_paused",
            state="paused",
            trigger="pause",
            target="paused",
        )


class NotPaused(Conflict):
    """Only what is paused goes on."""

    def __init__(self, execution_id: str, state: str) -> None:
        super().__init__(
            f"Execution {execution_id} is {state} and not paused: it need not be resumed to be running.",
            fix="`rangerctl execution show` tells what it waits for.",
            code="not_paused",
            state=state,
            trigger="resume",
            target="running",
        )


class AlreadyRollingBack(Conflict):
    """What it changed is being taken back."""

    def __init__(self, execution_id: str, state: str) -> None:
        super().__init__(
            f"Execution {execution_id} is {state} and takes back what it changed already; then it has failed.",
            fix="`rangerctl execution watch` shows how far it is.",
            code="already_rolling_back",
            state=state,
            trigger="rollback",
            target="failed",
        )


class StepNotSkippable(Conflict):
    """Only a step that waits, has not begun, or failed and asks is left out."""

    def __init__(self, step: str, state: str, waiting_for: str) -> None:
        super().__init__(
            f"Step {step} is {_told(state, waiting_for)}: it cannot become skipped.",
            fix="A step that waits or is ready can be left out; an approval is granted or rejected instead.",
            code="step_not_skippable",
            step=step,
            state=state,
            waiting_for=waiting_for,
            trigger="skip",
            target="skipped",
        )


class StepNotAsking(Conflict):
    """Only for a step that failed and asks does a person choose."""

    def __init__(self, step: str, state: str, waiting_for: str, choice: str) -> None:
        super().__init__(
            f"Step {step} is {_told(state, waiting_for)} and asks nobody: {choice} cannot be chosen.",
            fix="`rangerctl execution show` tells what it waits for; `on_failure: ask` makes a step ask.",
            code="step_not_asking",
            step=step,
            state=state,
            waiting_for=waiting_for,
            trigger="choose",
            target=choice,
        )


class SignalUnheard(Conflict):
    """No step waits for that event."""

    def __init__(self, execution_id: str, state: str, name: str) -> None:
        super().__init__(
            f"Execution {execution_id} is {state}, and no step of it waits for {name}.",
            fix="Signal it when `rangerctl execution show` has a step that waits for this event.",
            code="signal_unheard",
            state=state,
            trigger="signal",
            target=name,
        )


class NotRetryable(Conflict):
    """There is nothing to go on with, or too much in doubt; the text says what."""

    def __init__(self, execution_id: str, state: str, why: str, fix: str, code: str = "not_retryable") -> None:
        super().__init__(
            f"Execution {execution_id} is {state}, and no new one is running in its place: {why}",
            fix=fix,
            code=code,
            state=state,
            trigger="retry",
            target="running",
        )


class BreakerNotOpen(Conflict):
    """Only a breaker that is open is reset."""

    def __init__(self, runbook_id: str, resource_id: str) -> None:
        super().__init__(
            f"The breaker of runbook {runbook_id} on {resource_id} is not open.",
            fix="`rangerctl execution breakers` shows those that are.",
            code="breaker_not_open",
            state="closed",
            trigger="reset",
            target="closed",
        )


class NoSuchLock(NotFound):
    """Nothing is held there."""

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"No execution holds {resource_id}.", code="no_such_lock")


def _told(state: str, waiting_for: str) -> str:
    return f"{state} (for {waiting_for})" if waiting_for else state
