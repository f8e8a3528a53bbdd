"""What may be asked of the approvals service: the bodies of its verbs."""

from typing import Annotated

from pydantic import Field, StringConstraints

from libs.common.rpc import Question
from services.approvals.lifecycle import State

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Rationale = Annotated[
    str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True, pattern=r"^[^\x00]*$")
]
Digest = Annotated[str, StringConstraints(max_length=128)]
Channel = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class GetApproval(Question):
    """One approval, whole."""

    approval_id: Id


class ListApprovals(Question):
    """A page of the tenant's approvals, newest first; `after` is the last id of the page before."""

    state: State | None = None
    incident_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    execution_id: Id | None = None
    after: Id | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class Decision(Question):
    """What a person says, why, and through which face (`api`, `cli`, `ui`, `chat`)."""

    approval_id: Id
    rationale: Rationale
    channel: Channel = "api"


class GrantApproval(Decision):
    """Yes, to exactly what these hashes name: those that the person looked at (`action_hash` is empty for a plan)."""

    plan_hash: Digest
    action_hash: Digest


class RejectApproval(Decision):
    """No."""


class RevokeApproval(Decision):
    """Take a grant back, if it was not used yet."""
