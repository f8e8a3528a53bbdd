"""Facts of approvals, published by the approvals service. An approval is for one plan, one action, one time.

`action_hash` is empty where the whole plan is asked about. `channel` says through which face a person decided.
"""

from typing import ClassVar

from libs.common.contracts.execution import ApprovalOf
from libs.common.contracts.fact import Fact
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


class ApprovalRequested(ApprovalFact):
    """Someone other than `requester` is asked to decide before `expires_at` (RFC 3339); silence is a rejection."""

    subject: ClassVar[str] = "approval.requested"
    requester: str
    risk: str
    expires_at: str
    step: str | None = None
    approval_of: ApprovalOf | None = None
    action: str | None = None
    resource_id: str | None = None


class ApprovalGranted(ApprovalFact):
    """A person allowed exactly this plan and action, once, to be begun before `expires_at` (RFC 3339)."""

    subject: ClassVar[str] = "approval.granted"
    approver: str
    rationale: str
    expires_at: str
    channel: str | None = None


class ApprovalRejected(ApprovalFact):
    """A person said no."""

    subject: ClassVar[str] = "approval.rejected"
    approver: str
    rationale: str
    channel: str | None = None


class ApprovalExpired(ApprovalFact):
    """Nobody decided in time, which is a no."""

    subject: ClassVar[str] = "approval.expired"


class ApprovalRevoked(ApprovalFact):
    """A grant was taken back before it was used; the executor has confirmed it."""

    subject: ClassVar[str] = "approval.revoked"
    revoked_by: str
    rationale: str
    channel: str | None = None


class ApprovalWithdrawn(ApprovalFact):
    """Nobody needs the answer any more: the execution ended, or asks about something else. Not a decision."""

    subject: ClassVar[str] = "approval.withdrawn"
    reason: str
