"""Refusals of the executor's commands, named after what stands against them.

Refusal
├── NotFound   ExecutionNotFound   missing, or another tenant's: the same answer
└── Conflict   StepNotUnknown      nobody needs to decide it
               ExecutionEnded      it cannot be aborted any more
               NoSuchLock          nothing is held there
"""

from libs.common.errors import Conflict, NotFound


class ExecutionNotFound(NotFound):
    """There is no such execution for this caller."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(
            f"There is no execution {execution_id}.",
            fix="`rangerctl execution list` shows what there is.",
            code="execution_not_found",
        )


class StepNotUnknown(Conflict):
    """Only a step whose outcome nobody knows is decided by a person."""

    def __init__(self, step: str, state: str) -> None:
        super().__init__(
            f"Step {step} is {state}, not unknown.",
            fix="`rangerctl execution show` tells its state.",
            code="step_not_unknown",
            state=state,
        )


class StepNotManual(Conflict):
    """Only a manual step that waits for a person is completed by one."""

    def __init__(self, step: str, state: str) -> None:
        super().__init__(
            f"Step {step} is {state}; it does not wait for a person.",
            fix="`rangerctl execution show` tells what it waits for.",
            code="step_not_manual",
            state=state,
        )


class EvidenceMissing(Conflict):
    """A step of high risk is completed only under a grant for this plan and step, and with evidence."""

    def __init__(self, step: str, what: str) -> None:
        super().__init__(
            f"Step {step} is of high risk: {what}.",
            fix="Name the approval's id in approval_ids and what proves the work in evidence_ref.",
            code="evidence_missing",
        )


class ExecutionEnded(Conflict):
    """A terminal state never changes."""

    def __init__(self, execution_id: str, state: str) -> None:
        super().__init__(f"Execution {execution_id} is {state} already.", code="execution_ended", state=state)


class NoSuchLock(NotFound):
    """Nothing is held there."""

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"No execution holds {resource_id}.", code="no_such_lock")
