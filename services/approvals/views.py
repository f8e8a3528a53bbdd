"""What the service shows of approvals: JSON-ready, and small enough for one reply."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from libs.common.clock import rfc3339
from libs.common.policy import Resource
from services.approvals.lifecycle import OPEN
from services.approvals.model import Approval, Vote

KIND: Final = "approval"
BRIEF: Final = 300
"""Characters that a list shows of a text; `get` shows it whole."""
BRIEF_BYTES: Final = 2_048
"""Arguments that are longer than this as JSON are not in a list."""
_PLAIN: Final = (
    "approval_id", "execution_id", "incident_id", "runbook_id", "step_run_id", "step", "plan_hash", "action_hash",
    "action", "resource_id", "risk", "requester", "quorum", "level", "state", "version", "approver", "channel",
    "method", "decision_id", "policy_revision", "revoked_by", "environment", "clearance", "prompt", "rationale",
    "revoke_rationale",
)  # fmt: skip
_MOMENTS: Final = ("requested_at", "expires_at", "decided_at", "valid_until", "revoked_at")


def whole(approval: Approval) -> dict[str, Any]:
    """One approval: what exactly would run, who agreed and who still may, and what there is to fill in."""
    return {
        **_common(approval),
        "arguments": dict(approval.arguments),
        "form": dict(approval.form),
        "values": dict(approval.filled),
        "escalation": [level.model_dump() for level in approval.escalation],
        "votes": [_vote(vote) for vote in approval.standing],
    }


def brief(approval: Approval) -> dict[str, Any]:
    """As `whole`, with the beginnings of texts; arguments only where they are short (`arguments_left_out`)."""
    cut = {name: getattr(approval, name)[:BRIEF] for name in ("prompt", "rationale", "revoke_rationale")}
    short = len(orjson.dumps(dict(approval.arguments))) <= BRIEF_BYTES
    return {
        **_common(replace(approval, **cut)),
        "arguments": dict(approval.arguments) if short else {},
        "arguments_left_out": not short,
        "votes": [{"approver": vote.word.actor, "voted_at": rfc3339(vote.voted_at)} for vote in approval.standing],
    }


def own(approval: Approval) -> Resource:
    """As `about`, for whoever asked, who wants to say no to it: nobody in particular asked, or is named."""
    return replace(about(approval), requester="", groups=frozenset())


def about(approval: Approval) -> Resource:
    """An approval as policy knows it."""
    return Resource(
        KIND,
        approval.approval_id,
        approval.tenant,
        risk=approval.risk,
        status=approval.state,
        environment=approval.environment,
        clearance=approval.clearance,
        groups=approval.deciders,
        requester=approval.requester,
        version=approval.version,
    )


def _common(approval: Approval) -> dict[str, Any]:
    moments = {name: getattr(approval, name) for name in _MOMENTS}
    return {
        "tenant_id": approval.tenant,
        "approval_of": approval.of,
        **{name: getattr(approval, name) for name in _PLAIN},
        **{name: rfc3339(moment) if moment is not None else None for name, moment in moments.items()},
        "approvers": list(approval.approvers),
        "groups": list(approval.groups),
        "deciders": sorted(approval.deciders),
        "may_decide": _may_decide(approval),
    }


def _may_decide(approval: Approval) -> Mapping[str, Any] | None:
    """Who may still agree: of these names, or whoever policy lets where there are none, but not these people."""
    if approval.state not in OPEN:
        return None
    voters = [vote.word.actor for vote in approval.standing]
    missing = max(0, approval.quorum - len(voters))
    return {"names": sorted(approval.deciders), "not": [approval.requester, *voters], "missing": missing}


def _vote(vote: Vote) -> dict[str, Any]:
    word = vote.word
    return {
        "approver": word.actor,
        "rationale": word.rationale,
        "channel": word.channel,
        "method": word.method,
        "values": dict(vote.values),
        "voted_at": rfc3339(vote.voted_at),
    }
