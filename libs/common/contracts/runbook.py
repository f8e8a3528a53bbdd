"""Facts of runbooks, published by the catalog."""

from typing import ClassVar

from libs.common.contracts.fact import Fact


class RunbookPublished(Fact):
    """A version was made public; it never changes, and `spec_hash` names its content. `author` wrote its draft."""

    subject: ClassVar[str] = "runbook.published"
    aggregate: ClassVar[str] = "runbook"
    runbook_id: str
    runbook_version: int
    name: str
    spec_hash: str
    author: str | None = None
    published_by: str | None = None


class RunbookMatched(Fact):
    """A runbook's trigger fits an incident; `match_id` is one for each (incident, runbook)."""

    subject: ClassVar[str] = "runbook.matched"
    aggregate: ClassVar[str] = "match"
    match_id: str
    incident_id: str
    runbook_id: str
    runbook_version: int
    spec_hash: str
    alert_name: str
    severity: str
    labels: dict[str, str]
    annotations: dict[str, str]
