"""What people do to an approval: agree, take that back, reject, revoke. Values in, values out.

A grant is `quorum` votes of different people on the same plan, action and values. One rejection rejects, however many
have agreed: whoever sees a reason against it need not find others who do.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from libs.common.clock import rfc3339
from libs.common.contracts import approval as contract
from libs.runbook import forms
from services.approvals.errors import (
    AlreadyVoted,
    ApprovalDrift,
    ApprovalExpired,
    FormDiffers,
    FormFaults,
    NotAnApprover,
    NoVote,
    OwnRequest,
)
from services.approvals.lifecycle import State, after
from services.approvals.model import Approval, Told, Vote, Word, about, ended


def agreed(
    approval: Approval,
    word: Word,
    *,
    plan_hash: str,
    action_hash: str,
    now: datetime,
    valid_for: timedelta,
    values: Mapping[str, Any] | None = None,
) -> list[Told]:
    """A person says yes to what these hashes name: a vote, and with the last that it takes the grant.

    Where one is enough the grant tells of the vote; otherwise each vote is told, and then the grant.

    Raises:
        UndefinedMove, ApprovalExpired, NotAnApprover, OwnRequest, AlreadyVoted, ApprovalDrift, FormFaults, FormDiffers:
            it stands as it did.
    """
    filled = values or {}
    after(approval.state, "grant")
    _may_decide(approval, word, now)
    if word.actor == approval.requester:
        raise OwnRequest(approval.approval_id, word.actor)
    _check_seen(approval, plan_hash, action_hash)
    _check_form(approval, word, filled)
    vote = Vote(word=word, plan_hash=plan_hash, action_hash=action_hash, values=filled, voted_at=now)
    voted = replace(approval, votes=(*approval.votes, vote))
    if approval.quorum == 1:
        return [replace(_granted(voted, word, now, valid_for), cast=vote)]
    voted = replace(voted, version=approval.version + 1)
    told = [Told(voted, _voted(voted, word, filled), cast=vote)]
    if len(voted.standing) >= approval.quorum:
        told.append(_granted(voted, word, now, valid_for))
    return told


def vote_withdrawn(approval: Approval, word: Word, *, now: datetime) -> Told:
    """A person takes their own yes back, while the question is open.

    Raises:
        UndefinedMove, ApprovalExpired, NoVote: it stands as it did.
    """
    after(approval.state, "grant")
    _check_time(approval, now)
    left = tuple(vote for vote in approval.votes if vote.word.actor != word.actor)
    if len(left) == len(approval.votes):
        raise NoVote(approval.approval_id, word.actor)
    unvoted = replace(approval, votes=left, version=approval.version + 1)
    fact = contract.ApprovalVoteWithdrawn(
        **about(approval), approver=word.actor, **_said(word), votes=len(unvoted.standing), quorum=approval.quorum
    )
    return Told(unvoted, fact, taken_back=word)


def rejected(approval: Approval, word: Word, *, now: datetime) -> Told:
    """A person says no. The requester may: nothing runs for it.

    Raises:
        UndefinedMove, ApprovalExpired, NotAnApprover: it stands as it did.
    """
    state = after(approval.state, "reject")
    if word.actor == approval.requester:
        _check_time(approval, now)
    else:
        _may_decide(approval, word, now)
    fact = contract.ApprovalRejected(**about(approval), approver=word.actor, **_said(word))
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
    fact = contract.ApprovalRevoked(**about(approval), revoked_by=word.actor, **_said(word))
    return Told(taken_back, fact)


def open_to(approval: Approval, word: Word, now: datetime) -> bool:
    """Whether a yes of this person would count now, as far as it is not policy's to say."""
    if approval.state != "requested" or now >= approval.expires_at or word.actor == approval.requester:
        return False
    named = not approval.deciders or bool(word.names & approval.deciders)
    return named and all(vote.word.actor != word.actor for vote in approval.votes)


def _granted(approval: Approval, word: Word, now: datetime, valid_for: timedelta) -> Told:
    until = now + valid_for
    votes = approval.standing
    filled = votes[-1].values
    decided = replace(_decided(approval, after(approval.state, "grant"), word, now), valid_until=until, filled=filled)
    fact = contract.ApprovalGranted(
        **about(approval),
        approver=word.actor,
        **_said(word),
        expires_at=rfc3339(until),
        approvers=[vote.word.actor for vote in votes],
        votes=[_as_fact(vote) for vote in votes],
        values=dict(filled) or None,
    )
    return Told(decided, fact)


def _voted(approval: Approval, word: Word, filled: Mapping[str, Any]) -> contract.ApprovalVoted:
    return contract.ApprovalVoted(
        **about(approval),
        approver=word.actor,
        **_said(word),
        votes=len(approval.standing),
        quorum=approval.quorum,
        values=dict(filled) or None,
    )


def _as_fact(vote: Vote) -> contract.Vote:
    word = vote.word
    return contract.Vote(
        approver=word.actor,
        rationale=word.rationale,
        channel=word.channel,
        method=word.method,
        decision_id=word.decision_id,
        policy_revision=word.policy_revision,
        voted_at=rfc3339(vote.voted_at),
    )


def _said(word: Word) -> dict[str, Any]:
    """What every fact of a decision says of the person who made it."""
    return {
        "rationale": word.rationale,
        "channel": word.channel,
        "method": word.method or None,
        "decision_id": word.decision_id or None,
        "policy_revision": word.policy_revision or None,
    }


def _check_seen(approval: Approval, plan_hash: str, action_hash: str) -> None:
    seen = {"plan_hash": (plan_hash, approval.plan_hash), "action_hash": (action_hash, approval.action_hash)}
    drifted = [name for name, (theirs, ours) in seen.items() if theirs != ours]
    if drifted:
        raise ApprovalDrift(approval.approval_id, drifted)


def _check_form(approval: Approval, word: Word, values: Mapping[str, Any]) -> None:
    """One vote a person, of what the form takes, and of the same as those who voted before."""
    if any(vote.word.actor == word.actor for vote in approval.votes):
        raise AlreadyVoted(approval.approval_id, word.actor)
    faults = forms.filled_faults(forms.read(approval.form), values)
    if faults:
        raise FormFaults(approval.approval_id, faults)
    for vote in approval.standing:
        names = sorted({*vote.values, *values})
        differing = [name for name in names if vote.values.get(name) != values.get(name)]
        if differing:
            raise FormDiffers(approval.approval_id, vote.word.actor, differing)


def _check_time(approval: Approval, now: datetime) -> None:
    if now >= approval.expires_at:
        raise ApprovalExpired(approval.approval_id, rfc3339(approval.expires_at))


def _may_decide(approval: Approval, word: Word, now: datetime) -> None:
    _check_time(approval, now)
    if approval.deciders and not word.names & approval.deciders:
        raise NotAnApprover(approval.approval_id, sorted(approval.deciders))


def _decided(approval: Approval, state: State, word: Word, now: datetime) -> Approval:
    return replace(
        ended(approval, state, now),
        approver=word.actor,
        rationale=word.rationale,
        channel=word.channel,
        method=word.method,
        decision_id=word.decision_id,
        policy_revision=word.policy_revision,
    )
