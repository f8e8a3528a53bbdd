"""Why a command on an approval is refused; nothing changed.

Refusal
├── Conflict
│   ├── UndefinedMove      it is decided, or not yet
│   ├── ApprovalExpired    nobody decided in time, whether or not the timer has said so
│   ├── ApprovalDrift      the hashes that the person saw are not those asked about
│   ├── ApprovalUsed       the executor says that the grant cannot be taken back
│   ├── Superseded         the step asks about something else by now
│   ├── LinksOff           the installation has no secret to sign links with
│   ├── AlreadyVoted       one person, one vote
│   ├── NoVote             there is no vote of theirs to take back
│   └── FormDiffers        they have filled in something else than who voted before
├── InvalidInput
│   └── FormFaults         what was filled in does not fit the form
├── Denied
│   ├── OwnRequest         the requester does not approve
│   ├── NotAnApprover      the runbook names roles or groups, and the person has none of them
│   ├── LinkInvalid        nobody here made this link, or it was changed since
│   ├── LinkTooOld         the time of the link is over
│   └── LinkElsewhere      it was made for another tenant
└── NotFound
    └── NoSuchApproval     there is none, or the caller may not see it: the same answer
"""

from collections.abc import Mapping, Sequence
from typing import Final

from libs.common.errors import Conflict, Denied, InvalidInput, NotFound
from libs.runbook.problems import Problem

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


class AlreadyVoted(Conflict):
    """A quorum is so many people, not so many clicks."""

    def __init__(self, approval_id: str, actor: str) -> None:
        super().__init__(
            f"{actor} has agreed to approval {approval_id} already.",
            fix="Somebody else has to agree, too; `rangerctl approval show` says who may.",
            code="already_voted",
        )


class NoVote(Conflict):
    """Only one's own vote is taken back, and only where there is one."""

    def __init__(self, approval_id: str, actor: str) -> None:
        super().__init__(
            f"There is no vote of {actor} on approval {approval_id}.",
            fix="`rangerctl approval show` lists the votes that stand.",
            code="no_vote",
        )


class FormDiffers(Conflict):
    """Who agrees, agrees to the same."""

    def __init__(self, approval_id: str, first: str, fields: Sequence[str]) -> None:
        super().__init__(
            f"{first} has agreed to approval {approval_id} with something else filled in for: {', '.join(fields)}.",
            fix="Fill in the same, or have them take their vote back; `rangerctl approval show` shows theirs.",
            code="form_differs",
            fields=list(fields),
        )


class FormFaults(InvalidInput):
    """Every field that is wrong, named."""

    def __init__(self, approval_id: str, faults: Sequence[Problem]) -> None:
        super().__init__(
            "; ".join(f"{fault.path} {fault.message}" for fault in faults),
            fix=f"`rangerctl approval show {approval_id}` shows the form.",
            code="form_faults",
            faults=[{"path": fault.path, "message": fault.message} for fault in faults],
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
    """The runbook's author says which roles and groups decide."""

    def __init__(self, approval_id: str, approvers: Sequence[str]) -> None:
        super().__init__(
            f"Approval {approval_id} is decided by: {', '.join(approvers)}.",
            fix="Ask somebody who has one of these roles, or is in one of these groups.",
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


class Superseded(Conflict):
    """The plan or the action changed, and the step asks anew: an answer to the old question is none."""

    def __init__(self, approval_id: str) -> None:
        super().__init__(
            f"Approval {approval_id} is not asked any more: what would run has changed since.",
            fix="`rangerctl approval list --mine` shows what is asked now.",
            code="approval_superseded",
        )


class LinksOff(Conflict):
    """Without a secret nothing can be signed."""

    def __init__(self) -> None:
        super().__init__(
            "This installation has no links to approvals.",
            fix="Set RR_LINK_SECRET for the approvals service; docs/operators.md, Links to approvals.",
            code="links_off",
        )


class LinkInvalid(Denied):
    """The signature does not fit: the text is not shown again."""

    def __init__(self) -> None:
        super().__init__(
            "This link was not made here, or was changed since.",
            fix="Follow the link as it was sent, or `rangerctl approval list --mine`.",
            code="link_invalid",
        )


class LinkTooOld(Denied):
    """A link is good as long as its question was to be open."""

    def __init__(self, approval_id: str) -> None:
        super().__init__(
            f"The time of this link to approval {approval_id} is over.",
            fix="`rangerctl approval show` says what became of it.",
            code="link_expired",
        )


class LinkElsewhere(Denied):
    """Links do not lead from one tenant into another."""

    def __init__(self) -> None:
        super().__init__(
            "This link was made for another tenant.",
            fix="Name that tenant in `Rr-Tenant`, if the credential speaks for it.",
            code="link_other_tenant",
        )
