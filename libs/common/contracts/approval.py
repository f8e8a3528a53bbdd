"""Facts of approvals, published by the approvals service. An approval is for one plan, one action, one time.

`action_hash` is empty where the whole plan is asked about. `channel` says through which face a person decided, `method`
with which kind of credential, and `decision_id` and `policy_revision` which decision of which policies let them.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from libs.common.contracts.execution import ApprovalOf
from libs.common.contracts.fact import Fact
from libs.common.contracts.levels import Level
from libs.common.ids import derived_id


def approval_id(*, tenant: str, execution_id: str, step_run_id: str, plan_hash: str, action_hash: str) -> str:
    """The id of the one request about this visit of a step and these hashes: asked again, it is the same request."""
    return derived_id("approval", tenant, execution_id, step_run_id, plan_hash, action_hash)


class ApprovalFact(Fact):
    """About one approval request."""

    aggregate: ClassVar[str] = "approval"
    approval_id: str
    execution_id: str
    incident_id: str
    step_run_id: str
    plan_hash: str
    action_hash: str


class ApprovalDecision(ApprovalFact):
    """What a person said, and what lets them say it."""

    rationale: str
    channel: str | None = None
    method: str | None = None
    decision_id: str | None = None
    policy_revision: str | None = None


class Vote(BaseModel):
    """One person's yes, as it stands when enough have said so."""

    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys")

    approver: str
    rationale: str
    channel: str
    method: str
    decision_id: str
    policy_revision: str
    voted_at: str


class ApprovalRequested(ApprovalFact):
    """Someone other than `requester` is asked to decide before `expires_at` (RFC 3339); silence is a rejection.

    `quorum` different people have to agree. `approvers` and `groups` name who may; without them policy alone says so.
    """

    subject: ClassVar[str] = "approval.requested"
    requester: str
    risk: str
    expires_at: str
    step: str | None = None
    approval_of: ApprovalOf | None = None
    action: str | None = None
    resource_id: str | None = None
    quorum: int | None = None
    approvers: list[str] | None = None
    groups: list[str] | None = None
    escalation: list[Level] | None = None


class ApprovalVoted(ApprovalDecision):
    """One of several who have to agree has: `votes` of `quorum` stand now. `values` is what they filled in."""

    subject: ClassVar[str] = "approval.voted"
    approver: str
    votes: int
    quorum: int
    values: dict[str, Any] | None = None


class ApprovalVoteWithdrawn(ApprovalDecision):
    """Somebody took their yes back while it was open: `votes` of `quorum` stand now."""

    subject: ClassVar[str] = "approval.vote_withdrawn"
    approver: str
    votes: int
    quorum: int


class ApprovalGranted(ApprovalDecision):
    """Enough people allowed exactly this plan and action, once, to be begun before `expires_at` (RFC 3339).

    `approver` is the last of them, `approvers` are all, and `votes` what each said. `values` is what they filled in.
    """

    subject: ClassVar[str] = "approval.granted"
    approver: str
    expires_at: str
    approvers: list[str] | None = None
    votes: list[Vote] | None = None
    values: dict[str, Any] | None = None


class ApprovalRejected(ApprovalDecision):
    """A person said no, which is enough, however many had agreed."""

    subject: ClassVar[str] = "approval.rejected"
    approver: str


class ApprovalReminded(ApprovalFact):
    """Nobody, or not enough people, have decided so far: `votes` of `quorum` stand. Told once for each `number`."""

    subject: ClassVar[str] = "approval.reminded"
    number: int
    votes: int
    quorum: int
    expires_at: str
    approvers: list[str]
    groups: list[str]


class ApprovalEscalated(ApprovalFact):
    """Those of this level may decide too from now on: `approvers` and `groups` are who comes in addition."""

    subject: ClassVar[str] = "approval.escalated"
    level: int
    approvers: list[str]
    groups: list[str]
    expires_at: str


class ApprovalExpired(ApprovalFact):
    """Nobody decided in time, or not enough people did, which is a no."""

    subject: ClassVar[str] = "approval.expired"


class ApprovalRevoked(ApprovalDecision):
    """A grant was taken back before it was used; the executor has confirmed it."""

    subject: ClassVar[str] = "approval.revoked"
    revoked_by: str


class ApprovalWithdrawn(ApprovalFact):
    """Nobody needs the answer any more: the execution ended, or asks about something else. Not a decision."""

    subject: ClassVar[str] = "approval.withdrawn"
    reason: str
