"""An approval and how it becomes the next: values in, values out. The clock's reading arrives as an argument."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from libs.common.clock import rfc3339
from libs.common.contracts import approval as contract
from libs.common.contracts.approval import ApprovalFact
from libs.common.contracts.execution import ApprovalOf, Risk
from libs.common.contracts.marking import Marking
from services.approvals.errors import ApprovalDrift, ApprovalExpired, NotAnApprover, OwnRequest
from services.approvals.lifecycle import INITIAL, State, after

SERVICE: Final = "approvals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One question, and what became of it. `version` counts its facts from 1.

    `asked_version` is the version of the execution's fact that asked. `valid_until` is when a grant ends unused.
    `rationale` is the approver's, or why it was withdrawn; a revocation has a person and a rationale of its own.
    """

    tenant: str
    approval_id: str
    execution_id: str
    incident_id: str
    runbook_id: str
    step_run_id: str
    step: str
    of: ApprovalOf
    plan_hash: str
    action_hash: str
    action: str
    resource_id: str
    risk: Risk
    prompt: str
    requester: str
    approvers: tuple[str, ...]
    asked_version: int
    correlation: str
    traceparent: str
    requested_at: datetime
    expires_at: datetime
    state: State = INITIAL
    version: int = 1
    approver: str = ""
    rationale: str = ""
    channel: str = ""
    decided_at: datetime | None = None
    valid_until: datetime | None = None
    revoked_by: str = ""
    revoke_rationale: str = ""
    revoked_at: datetime | None = None
    environment: str = ""
    clearance: int = 0

    @property
    def marking(self) -> Marking:
        """Who may see it, as of what it is about."""
        return Marking(self.environment, self.clearance)


@dataclass(frozen=True, slots=True)
class Told:
    """A fact, the approval as the fact left it, and where in the batch the fact comes from."""

    approval: Approval
    fact: ApprovalFact
    origin: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person says: who, with which roles, why, and through which face."""

    actor: str
    roles: frozenset[str]
    rationale: str
    channel: str


def requested(approval: Approval, *, origin: int = 0) -> Told:
    """A new question."""
    fact = contract.ApprovalRequested(
        **_about(approval),
        requester=approval.requester,
        risk=approval.risk,
        expires_at=rfc3339(approval.expires_at),
        step=approval.step,
        approval_of=approval.of,
        action=approval.action or None,
        resource_id=approval.resource_id or None,
    )
    return Told(approval, fact, origin)


def granted(
    approval: Approval, word: Word, *, plan_hash: str, action_hash: str, now: datetime, valid_for: timedelta
) -> Told:
    """A person says yes to what these hashes name.

    Raises:
        UndefinedMove, ApprovalExpired, NotAnApprover, OwnRequest, ApprovalDrift: it stands as it did.
    """
    state = after(approval.state, "grant")
    _may_decide(approval, word, now)
    if word.actor == approval.requester:
        raise OwnRequest(approval.approval_id, word.actor)
    seen = {"plan_hash": (plan_hash, approval.plan_hash), "action_hash": (action_hash, approval.action_hash)}
    drifted = [name for name, (theirs, ours) in seen.items() if theirs != ours]
    if drifted:
        raise ApprovalDrift(approval.approval_id, drifted)
    decided = replace(_decided(approval, state, word, now), valid_until=now + valid_for)
    fact = contract.ApprovalGranted(
        **_about(approval),
        approver=word.actor,
        rationale=word.rationale,
        expires_at=rfc3339(now + valid_for),
        channel=word.channel,
    )
    return Told(decided, fact)


def rejected(approval: Approval, word: Word, *, now: datetime) -> Told:
    """A person says no. The requester may: nothing runs for it.

    Raises:
        UndefinedMove, ApprovalExpired, NotAnApprover: it stands as it did.
    """
    state = after(approval.state, "reject")
    _may_decide(approval, word, now)
    fact = contract.ApprovalRejected(
        **_about(approval), approver=word.actor, rationale=word.rationale, channel=word.channel
    )
    return Told(_decided(approval, state, word, now), fact)


def revoked(approval: Approval, word: Word, *, now: datetime) -> Told:
    """A person takes a grant back; true only once the executor has confirmed it.

    Raises:
        UndefinedMove: it is not granted.
    """
    taken_back = replace(
        approval,
        state=after(approval.state, "revoke"),
        version=approval.version + 1,
        revoked_by=word.actor,
        revoke_rationale=word.rationale,
        revoked_at=now,
    )
    fact = contract.ApprovalRevoked(
        **_about(approval), revoked_by=word.actor, rationale=word.rationale, channel=word.channel
    )
    return Told(taken_back, fact)


def expired(approval: Approval, *, now: datetime) -> Told:
    """Nobody decided in time.

    Raises:
        UndefinedMove: somebody did.
    """
    state = after(approval.state, "expire")
    return Told(_ended(approval, state, now), contract.ApprovalExpired(**_about(approval)))


Reason = Literal["execution_ended", "superseded"]


def withdrawn(approval: Approval, reason: Reason, *, now: datetime, origin: int = 0) -> Told:
    """Nobody needs the answer any more.

    Raises:
        UndefinedMove: somebody answered before.
    """
    state = after(approval.state, "withdraw")
    ended = replace(_ended(approval, state, now), rationale=reason)
    return Told(ended, contract.ApprovalWithdrawn(**_about(approval), reason=reason), origin)


def _about(approval: Approval) -> dict[str, str]:
    names: Sequence[str] = (
        "approval_id", "execution_id", "incident_id", "step_run_id", "plan_hash", "action_hash",
    )  # fmt: skip
    return {name: getattr(approval, name) for name in names}


def _may_decide(approval: Approval, word: Word, now: datetime) -> None:
    if now >= approval.expires_at:
        raise ApprovalExpired(approval.approval_id, rfc3339(approval.expires_at))
    if approval.approvers and not word.roles & set(approval.approvers):
        raise NotAnApprover(approval.approval_id, approval.approvers)


def _ended(approval: Approval, state: State, now: datetime) -> Approval:
    return replace(approval, state=state, version=approval.version + 1, decided_at=now)


def _decided(approval: Approval, state: State, word: Word, now: datetime) -> Approval:
    ended = _ended(approval, state, now)
    return replace(ended, approver=word.actor, rationale=word.rationale, channel=word.channel)
