"""An approval and what becomes of it by itself: values in, values out. The clock's reading arrives as an argument.

What people do to it is in `deciding.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from libs.common.clock import rfc3339
from libs.common.contracts import approval as contract
from libs.common.contracts.approval import ApprovalFact
from libs.common.contracts.execution import ApprovalOf, Risk
from libs.common.contracts.levels import Level
from libs.common.contracts.marking import Marking
from services.approvals.lifecycle import INITIAL, State, after

SERVICE: Final = "approvals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person says: who, why, and through which face; and what let them: names, credential, policy's decision."""

    actor: str
    names: frozenset[str]
    rationale: str
    channel: str
    method: str = ""
    decision_id: str = ""
    policy_revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One person's yes, to exactly these hashes and with these values filled in."""

    word: Word
    plan_hash: str
    action_hash: str
    values: Mapping[str, Any]
    voted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One question, and what became of it. `version` counts its facts from 1.

    `asked_version` is the version of the execution's fact that asked. `valid_until` is when a grant ends unused.
    `rationale` is the approver's, or why it was withdrawn; a revocation has a person and a rationale of its own.
    `level` is how many levels of `escalation` have been reached; `votes` are those that stand, in their order.
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
    groups: tuple[str, ...] = ()
    quorum: int = 1
    reminders: tuple[float, ...] = ()
    escalation: tuple[Level, ...] = ()
    level: int = 0
    form: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    filled: Mapping[str, Any] = field(default_factory=dict)
    state: State = INITIAL
    version: int = 1
    approver: str = ""
    rationale: str = ""
    channel: str = ""
    method: str = ""
    decision_id: str = ""
    policy_revision: str = ""
    decided_at: datetime | None = None
    valid_until: datetime | None = None
    revoked_by: str = ""
    revoke_rationale: str = ""
    revoked_at: datetime | None = None
    environment: str = ""
    clearance: int = 0
    votes: tuple[Vote, ...] = ()

    @property
    def marking(self) -> Marking:
        """Who may see it, as of what it is about."""
        return Marking(self.environment, self.clearance)

    @property
    def deciders(self) -> frozenset[str]:
        """The roles and groups that may decide now; none named: whoever policy lets."""
        return deciders(self.approvers, self.groups, self.escalation, self.level)

    @property
    def standing(self) -> tuple[Vote, ...]:
        """The votes that count: on what is asked about, and of others than whoever asked."""
        return tuple(
            vote
            for vote in self.votes
            if (vote.plan_hash, vote.action_hash) == (self.plan_hash, self.action_hash)
            and vote.word.actor != self.requester
        )


@dataclass(frozen=True, slots=True)
class Told:
    """A fact, the approval as the fact left it, and where in the batch the fact comes from.

    `cast` is the vote that the fact tells of, `taken_back` whose vote does not stand any more.
    """

    approval: Approval
    fact: ApprovalFact
    origin: int = 0
    cast: Vote | None = None
    taken_back: Word | None = None


def deciders(
    approvers: Sequence[str], groups: Sequence[str], escalation: Sequence[Level], level: int
) -> frozenset[str]:
    """Who may decide at a level; where nobody was named to begin with, nobody is shut out by a level either."""
    named = {*approvers, *groups}
    if not named:
        return frozenset()
    for reached in escalation[:level]:
        named |= {*reached.approvers, *reached.groups}
    return frozenset(named)


def requested(approval: Approval, *, origin: int = 0) -> Told:
    """A new question."""
    fact = contract.ApprovalRequested(
        **about(approval),
        requester=approval.requester,
        risk=approval.risk,
        expires_at=rfc3339(approval.expires_at),
        step=approval.step,
        approval_of=approval.of,
        action=approval.action or None,
        resource_id=approval.resource_id or None,
        quorum=approval.quorum,
        approvers=list(approval.approvers) or None,
        groups=list(approval.groups) or None,
        escalation=list(approval.escalation) or None,
    )
    return Told(approval, fact, origin)


def reminded(approval: Approval, number: int) -> Told:
    """Not enough people have decided so far.

    Raises:
        UndefinedMove: it is decided.
    """
    after(approval.state, "expire")
    reached = approval.escalation[: approval.level]
    fact = contract.ApprovalReminded(
        **about(approval),
        number=number,
        votes=len(approval.standing),
        quorum=approval.quorum,
        expires_at=rfc3339(approval.expires_at),
        approvers=_each(approval.approvers, *(level.approvers for level in reached)),
        groups=_each(approval.groups, *(level.groups for level in reached)),
    )
    return Told(replace(approval, version=approval.version + 1), fact)


def escalated(approval: Approval, level: int) -> Told:
    """Those of this level, counted from 1, may decide too.

    Raises:
        UndefinedMove: it is decided.
    """
    after(approval.state, "expire")
    reached = approval.escalation[level - 1]
    fact = contract.ApprovalEscalated(
        **about(approval),
        level=level,
        expires_at=rfc3339(approval.expires_at),
        approvers=reached.approvers,
        groups=reached.groups,
    )
    return Told(replace(approval, version=approval.version + 1, level=max(level, approval.level)), fact)


def expired(approval: Approval, *, now: datetime) -> Told:
    """Nobody decided in time, or not enough people.

    Raises:
        UndefinedMove: somebody did.
    """
    state = after(approval.state, "expire")
    return Told(ended(approval, state, now), contract.ApprovalExpired(**about(approval)))


Reason = Literal["execution_ended", "superseded"]


def withdrawn(approval: Approval, reason: Reason, *, now: datetime, origin: int = 0) -> Told:
    """Nobody needs the answer any more.

    Raises:
        UndefinedMove: somebody answered before.
    """
    state = after(approval.state, "withdraw")
    over = replace(ended(approval, state, now), rationale=reason)
    return Told(over, contract.ApprovalWithdrawn(**about(approval), reason=reason), origin)


def about(approval: Approval) -> dict[str, Any]:
    """What every fact of an approval says."""
    names: Sequence[str] = (
        "approval_id", "execution_id", "incident_id", "step_run_id", "plan_hash", "action_hash",
    )  # fmt: skip
    return {name: getattr(approval, name) for name in names}


def ended(approval: Approval, state: State, now: datetime) -> Approval:
    """The approval with the end that it has come to."""
    return replace(approval, state=state, version=approval.version + 1, decided_at=now)


def _each(*names: Sequence[str]) -> list[str]:
    """Every name, once."""
    return list(dict.fromkeys(name for some in names for name in some))
