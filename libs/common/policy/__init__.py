"""The policy seam: who asks, for what, about which thing; allowed or not, and why.

`decide` is called in every command and at every claim. It knows one rule for now (an actor acts inside its tenants,
by a role that the action asks for); policies replace the rule, not the calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from libs.common import metrics
from libs.common.errors import Denied
from libs.common.policy.model import SYSTEM_TENANTS, Principal, Resource

__all__ = ["ACTIONS", "REASONS", "SYSTEM_TENANTS", "Decision", "Principal", "Resource", "decide", "require"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer; `reason` is a code from the catalogue below."""

    allow: bool
    reason: str


REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "tenant": ("The thing belongs to another tenant.", "Ask with a token of its tenant."),
    "role": ("No role of yours allows this.", "Ask an administrator for the role that the action needs."),
    "unknown_action": ("The action is not in the policy.", "Add the action to the policy before using it."),
}

_WRITERS: Final = frozenset({"admin", "operator", "system"})
_READERS: Final = _WRITERS | {"viewer"}
_ADMINS: Final = frozenset({"admin"})
_APPROVERS: Final = frozenset({"admin", "operator", "approver"})
"""People: no service grants what it asks for."""
_PEOPLE: Final = _APPROVERS | {"viewer"}
"""Whoever has tokens of their own; those of others are `principal.view` and `principal.set`."""
ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    "alert.post": _WRITERS | {"alerting"},
    "incident.open": frozenset({"system"}),
    "incident.view": _READERS,
    "incident.create": _WRITERS,
    "incident.transition": _WRITERS,
    "incident.severity": _WRITERS,
    "incident.assign": _WRITERS,
    "incident.link": _WRITERS,
    "runbook.draft": _WRITERS,
    "runbook.publish": _WRITERS,
    "runbook.view": _READERS,
    "runbook.match": frozenset({"system"}),
    "execution.plan": frozenset({"system"}),
    "execution.preview": _READERS,
    "execution.start": _WRITERS,
    "execution.view": _READERS,
    "execution.abort": _WRITERS,
    "execution.pause": _WRITERS,
    "execution.resume": _WRITERS,
    "execution.retry": _WRITERS,
    "execution.rollback": _WRITERS,
    "execution.signal": _WRITERS,
    "execution.terminate": _WRITERS,
    "approval.view": _READERS | _APPROVERS,
    "approval.decide": _APPROVERS,
    "approval.revoke": _APPROVERS,
    "step.claim": frozenset({"system"}),
    "step.choose": _WRITERS,
    "step.complete": _WRITERS,
    "step.decide": _WRITERS,
    "step.skip": _WRITERS,
    "kill_switch.view": _READERS,
    "kill_switch.set": _WRITERS,
    "kill_switch.set_global": _ADMINS,
    "lock.break": _WRITERS,
    "breaker.reset": _WRITERS,
    "timeline.view": _READERS,
    "timeline.export": _ADMINS | {"system"},
    "dead_letter.view": _ADMINS,
    "dead_letter.resolve": _ADMINS,
    "token.create": _PEOPLE,
    "token.view": _PEOPLE,
    "token.revoke": _PEOPLE,
    "principal.view": _ADMINS,
    "principal.set": _ADMINS,
    "webhook.view": _ADMINS,
    "webhook.set": _ADMINS,
}
"""Roles that an action asks for; an action that is not here is denied to everyone."""


def decide(actor: Principal, action: str, resource: Resource) -> Decision:
    """Whether `actor` may do `action` to `resource`. Pure, total, and closed: what is not allowed is denied."""
    wanted = ACTIONS.get(action)
    if wanted is None:
        return Decision(allow=False, reason="unknown_action")
    if resource.tenant not in actor.tenants and actor.tenants != SYSTEM_TENANTS:
        return Decision(allow=False, reason="tenant")
    if not wanted & actor.roles:
        return Decision(allow=False, reason="role")
    return Decision(allow=True, reason="role")


def require(actor: Principal, action: str, resource: Resource) -> None:
    """`decide`, as a guard.

    Raises:
        Denied: with the reason's code, its wording and how to fix it.
    """
    decision = decide(actor, action, resource)
    if decision.allow:
        return
    metrics.DENIALS.labels(action, decision.reason).inc()
    text, fix = REASONS[decision.reason]
    raise Denied(f"{actor.actor} may not {action}: {text}", fix=fix, code=f"policy.{decision.reason}")
