"""What answers about approvals look like, for the description alone; as `answers.py`."""

from typing import Any

from services.gateway.answers import Answer


class Approval(Answer):
    """A request for approval, and what became of it.

    `may_decide` says who may still agree (`names` of roles and groups; none: whoever policy lets), who may not, and how
    many are `missing`; it is null once it is decided. `arguments` are what would run, without secrets.
    """

    approval_id: str
    state: str
    risk: str
    step: str
    action: str
    resource_id: str
    plan_hash: str
    action_hash: str
    requester: str
    quorum: int
    votes: list[dict[str, Any]]
    may_decide: dict[str, Any] | None
    arguments: dict[str, Any]
    expires_at: str


class ApprovalWhole(Approval):
    """With its texts whole, the form to fill in, what was filled in, and the levels that may decide later."""

    prompt: str
    form: dict[str, Any]
    values: dict[str, Any]
    escalation: list[dict[str, Any]]


class Decided(Answer):
    """How an approval stands after a decision: `votes` of `quorum`."""

    approval_id: str
    state: str
    execution_id: str
    votes: int
    quorum: int


class ApprovalLink(Answer):
    """A path to follow, signed in, until `expires_at`; its token decides nothing by itself."""

    approval_id: str
    path: str
    token: str
    expires_at: str


class Approvals(Answer):
    """Approvals, newest first."""

    items: list[Approval]
    next: str | None
