"""Why a command on an approval is refused; nothing changed.

Refusal
├── Conflict
│   ├── UndefinedMove      it is decided, or not yet
│   ├── ApprovalExpired    nobody decided in time, whether or not the timer has said so
│   ├── ApprovalDrift      the hashes that the person saw are not those asked about
│   └── ApprovalUsed       the executor says that the grant cannot be taken back
├── Denied
│   ├── OwnRequest         the requester does not approve
│   └── NotAnApprover      the runbook names roles, and the person has none of them
└── NotFound
    └── NoSuchApproval     there is none, or the caller may not see it: the same answer
"""

from collections.abc import Mapping, Sequence
from typing import Final

from libs.common.errors import Conflict, Denied, NotFound

_AGAIN: Final = "Begin the runbook again: it asks anew."
_WHAT_NOW: Final[Mapping[str, str]] = {
    "granted": "It was granted before; `rangerctl execution show` tells what came of it.",
    "rejected": f"It was rejected. {_AGAIN}",
    "expired": f"Nobody decided in time. {_AGAIN}",
    "revoked": f"It was taken back. {_AGAIN}",
    "withdrawn": "Nobody needs the answer any more; `rangerctl approval list --state requested` shows what is open.",
}


class UndefinedMove(Conflict):
    """The lifecycle table has no row for this state and trigger.

    What has expired says so by its code, as it does before the timer has noticed.
    """

    def __init__(self, state: str, trigger: str, target: str, possible: list[str]) -> None:
        leads = f"From {state} lead: {', '.join(possible)}." if possible else f"Nothing leads out of {state}."
        what_now = _WHAT_NOW.get(state)
        super().__init__(
            f"An approval cannot go from {state} to {target} ({trigger}).",
            fix=f"{leads} {what_now}" if what_now else leads,
            code="approval_expired" if state == "expired" else "undefined_move",
            state=state,
            trigger=trigger,
            target=target,
            possible=possible,
        )


class ApprovalExpired(Conflict):
    """Silence was a no."""

    def __init__(self, approval_id: str, expires_at: str) -> None:
        super().__init__(
            f"Approval {approval_id} expired at {expires_at}: nobody decided in time.",
            fix="Run the runbook again; it will ask anew.",
            code="approval_expired",
            expires_at=expires_at,
        )


class ApprovalDrift(Conflict):
    """An approval is for one plan and one action: those that the person saw."""

    def __init__(self, approval_id: str, drifted: Sequence[str]) -> None:
        super().__init__(
            f"Approval {approval_id} asks about something else than was looked at: {' and '.join(drifted)} differ.",
            fix="Look at it again, and decide about what it shows.",
            code="approval_drift",
            drifted=list(drifted),
        )


class ApprovalUsed(Conflict):
    """The executor holds the grant, and does not give it back."""

    def __init__(self, approval_id: str, reason: str) -> None:
        super().__init__(
            f"Approval {approval_id} cannot be revoked: {reason}.",
            fix="Abort the execution to stop what follows.",
            code="approval_used",
            reason=reason,
        )


class OwnRequest(Denied):
    """Two people, always."""

    def __init__(self, approval_id: str, actor: str) -> None:
        super().__init__(
            f"{actor} asked for approval {approval_id} and cannot grant it.",
            fix="Ask somebody else who may approve.",
            code="own_request",
        )


class NotAnApprover(Denied):
    """The runbook's author says which roles decide."""

    def __init__(self, approval_id: str, approvers: Sequence[str]) -> None:
        super().__init__(
            f"Approval {approval_id} is decided by: {', '.join(approvers)}.",
            fix="Ask somebody who has one of these roles.",
            code="not_an_approver",
            approvers=list(approvers),
        )


class NoSuchApproval(NotFound):
    """Missing or invisible."""

    def __init__(self, approval_id: str) -> None:
        super().__init__(
            f"There is no approval {approval_id}.",
            fix="`rangerctl approval list` shows what there is.",
            code="approval_not_found",
        )
