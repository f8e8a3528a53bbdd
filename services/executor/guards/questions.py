"""What people ask of guards, as bodies of requests."""

from typing import Annotated

from pydantic import Field, StringConstraints

from libs.common.rpc import Question
from services.executor.commands import Rationale

Resource = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class GetLocks(Question):
    """Who holds and who waits: of one resource or one concurrency key, or of all."""

    resource_id: Resource | None = None
    key: Resource | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class GetBreakers(Question):
    """The breakers of the tenant: those that are open first."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50


class ResetBreaker(Question):
    """Let a runbook change a resource again on which it had failed too often."""

    runbook_id: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    resource_id: Resource
    rationale: Rationale
