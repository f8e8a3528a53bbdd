"""What may be asked of the approvals service: the bodies of its verbs."""

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StrictStr, StringConstraints

from libs.common.rpc import Question
from services.approvals.lifecycle import State

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Rationale = Annotated[
    str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True, pattern=r"^[^\x00]*$")
]
Digest = Annotated[str, StringConstraints(max_length=128)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Values = Annotated[dict[str, StrictBool | StrictInt | StrictStr], Field(max_length=50)]
Channel = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class GetApproval(Question):
    """One approval, whole."""

    approval_id: Id


class ListApprovals(Question):
    """A page of the tenant's approvals, newest first; `after` is the last id of the page before.

    `mine`: only those that a yes of the caller would count for now.
    """

    state: State | None = None
    incident_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    execution_id: Id | None = None
    mine: StrictBool = False
    after: Id | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class MakeLink(Question):
    """A link to an open question."""

    approval_id: Id


class OpenLink(Question):
    """What a link is about."""

    token: Token


class Said(Question):
    """What a person says: why, and through which face (`api`, `cli`, `ui`, `chat`, `link`)."""

    rationale: Rationale
    channel: Channel = "api"


class Decision(Said):
    """About one approval."""

    approval_id: Id


class GrantApproval(Decision):
    """Yes, to exactly what these hashes name: those that the person looked at (`action_hash` is empty for a plan).

    `values` fill in the form of the question, where it has one.
    """

    plan_hash: Digest
    action_hash: Digest
    values: Values = Field(default={})


class RejectApproval(Decision):
    """No."""


class RevokeApproval(Decision):
    """Take a grant back, if it was not used yet."""


class WithdrawVote(Decision):
    """Take one's own yes back, while the question is open."""


class GrantByLink(Said):
    """Yes, to exactly what the link was made for."""

    token: Token
    channel: Channel = "link"
    values: Values = Field(default={})


class RejectByLink(Said):
    """No, to what the link was made for."""

    token: Token
    channel: Channel = "link"
