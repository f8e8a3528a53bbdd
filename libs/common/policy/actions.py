"""What can be asked for: each action with the package that judges it and the kinds of things it is asked about.

Which role may do it stands in `policies/data.json`, and under which conditions in the package; nothing of that is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

INCIDENT: Final = "incident.authz"
CATALOG: Final = "runbook.catalog"
EXECUTE: Final = "runbook.execute"
APPROVAL: Final = "approval.decide"
TIMELINE: Final = "timeline.view"
SYSTEM: Final = "system.admin"
PACKAGES: Final = (INCIDENT, CATALOG, EXECUTE, APPROVAL, TIMELINE, SYSTEM)

_LOOKS: Final = frozenset({"execution.preview", "policy.simulate", "policy.simulate_other", "timeline.export"})
_BY_SERVICES: Final = frozenset({"incident.open", "runbook.match", "execution.plan", "step.claim", "step.run"})


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `kinds`: of the things it is asked about, the usual one first."""

    name: str
    package: str
    kinds: tuple[str, ...]

    @property
    def looks(self) -> bool:
        """Whether nothing is changed by it."""
        return self.name.endswith(".view") or self.name in _LOOKS

    @property
    def again(self) -> bool:
        """Whether an answer may stand for a moment: looking, and what services do over and over.

        Never what a person commands, approvals and the kill switch.
        """
        return (self.looks or self.name in _BY_SERVICES) and self.package != APPROVAL and self.kinds != ("kill_switch",)


_TABLE: Final[Mapping[str, Mapping[tuple[str, ...], str]]] = {
    INCIDENT: {
        ("incident",): "incident.open incident.view incident.create incident.transition incident.close"
        " incident.severity incident.assign incident.escalate incident.link",
    },
    CATALOG: {
        ("runbook", "match"): "runbook.view",
        ("runbook",): "runbook.draft runbook.publish runbook.match",
    },
    EXECUTE: {
        ("execution",): "execution.plan execution.abort execution.pause execution.resume execution.retry"
        " execution.rollback execution.signal execution.terminate"
        " step.choose step.complete step.decide step.skip",
        ("execution", "lock", "lock_break", "breaker", "runbook"): "execution.view",
        ("runbook",): "execution.preview execution.start",
        ("action",): "step.claim step.run",
        ("kill_switch",): "kill_switch.view kill_switch.set kill_switch.set_global",
        ("lock",): "lock.break",
        ("breaker",): "breaker.reset",
    },
    APPROVAL: {("approval",): "approval.view approval.decide approval.revoke"},
    TIMELINE: {
        ("timeline", "incident", "execution"): "timeline.view evidence.redact",
        ("timeline",): "timeline.export",
        ("incident",): "evidence.hold",
    },
    SYSTEM: {
        ("alert",): "alert.post",
        ("dead_letter",): "dead_letter.view dead_letter.resolve",
        ("token",): "token.create token.view token.revoke",
        ("flag",): "flag.view flag.set",
        ("webhook",): "webhook.view webhook.set",
        ("principal",): "principal.view principal.set",
        ("policy",): "policy.simulate policy.simulate_other",
    },
}


def _actions() -> Iterator[Action]:
    for package, rows in _TABLE.items():
        for kinds, names in rows.items():
            yield from (Action(name, package, kinds) for name in names.split())


ACTIONS: Final[Mapping[str, Action]] = {action.name: action for action in _actions()}
"""An action that is not here is denied to everyone."""
KINDS: Final = frozenset(kind for action in ACTIONS.values() for kind in action.kinds)
ROLES: Final = ("viewer", "operator", "author", "approver", "auditor", "alerting", "admin", "system", "break_glass")
"""Those that the policies know; others name who decides approvals, and give nothing by themselves."""
