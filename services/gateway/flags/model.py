"""A flag and for whom it is on: pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

State = Literal["on", "off", "listed"]
FLAGS: Final[Mapping[str, str]] = {
    "incident_center_enabled": "incidents: lists, details and everything that people do to them",
    "runbook_center_enabled": "runbooks and executions: writing, publishing, starting and steering",
    "approval_center_enabled": "approvals: lists, decisions and links",
}
"""Each flag with what it holds. Alerts, the timeline, the kill switch and what runs already go on without any."""


@dataclass(frozen=True, slots=True)
class Flag:
    """`listed` is on for the tenants that are named, and for nobody else. What nobody has changed is on."""

    name: str
    state: State = "on"
    tenants: frozenset[str] = field(default_factory=frozenset)
    version: int = 0
    changed_by: str = ""
    changed_at: str = ""
    rationale: str = ""

    def enabled(self, tenant: str) -> bool:
        """Whether a tenant has it."""
        return self.state == "on" or (self.state == "listed" and tenant in self.tenants)

    def shown(self, tenant: str, *, whole: bool) -> dict[str, Any]:
        """As a caller of `tenant` sees it; who else has it is for those alone who may know of all tenants."""
        found: dict[str, Any] = {"name": self.name, "about": FLAGS[self.name], "enabled": self.enabled(tenant)}
        if whole:
            found |= {
                "state": self.state,
                "tenants": sorted(self.tenants),
                "changed_by": self.changed_by or None,
                "changed_at": self.changed_at or None,
                "rationale": self.rationale or None,
            }
        return found
