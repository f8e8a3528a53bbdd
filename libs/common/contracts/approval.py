"""Facts of approvals, published by the approvals service. An approval is for one plan, one action, one time."""

from typing import ClassVar

from libs.common.contracts.fact import Fact


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


class ApprovalGranted(ApprovalFact):
    """A person allowed exactly this plan and action, once."""

    subject: ClassVar[str] = "approval.granted"
    approver: str
    rationale: str
    expires_at: str


class ApprovalRejected(ApprovalFact):
    """A person said no."""

    subject: ClassVar[str] = "approval.rejected"
    approver: str
    rationale: str


class ApprovalExpired(ApprovalFact):
    """Nobody decided in time, which is a no."""

    subject: ClassVar[str] = "approval.expired"


class ApprovalRevoked(ApprovalFact):
    """A grant was taken back before it was used."""

    subject: ClassVar[str] = "approval.revoked"
    revoked_by: str
    rationale: str
