"""Who may do what: asked in every command, at every claim and for every list, of the policies in `policies/`.

One engine a process (`use`, at its start; the embedded one where nobody chose), one seam before it (`seam.py`), and a
ledger of what a command was told (`ledger.py`). What is not allowed is denied, whatever fails.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from dataclasses import replace

from libs.common.policy import ledger
from libs.common.policy.actions import ACTIONS
from libs.common.policy.engines.base import PolicyEngine
from libs.common.policy.model import (
    ALL,
    RESTRICTED,
    SYSTEM_TENANTS,
    Approval,
    Binding,
    Context,
    Decision,
    Obligation,
    Principal,
    Reason,
    Resource,
    Scope,
)
from libs.common.policy.reasons import explained, worded
from libs.common.policy.seam import NO_CONTEXT, Question, Seam
from libs.common.policy.settings import from_settings

__all__ = [
    "ACTIONS",
    "ALL",
    "RESTRICTED",
    "SYSTEM_TENANTS",
    "Approval",
    "Binding",
    "Context",
    "Decision",
    "Obligation",
    "Principal",
    "Question",
    "Reason",
    "Resource",
    "Scope",
    "decide",
    "decide_many",
    "explained",
    "from_settings",
    "require",
    "require_scope",
    "scope",
    "use",
    "worded",
]

_seams: list[Seam] = []
atexit.register(_seams.clear)  # an interpreter that is let go of later finds its library half taken down


def use(engine: PolicyEngine) -> None:
    """Have this process ask `engine` from now on."""
    _seams[:] = [Seam(engine)]


def _seam() -> Seam:
    """The process's; the embedded engine over the shipped policies where nobody chose another."""
    if not _seams:
        use(from_settings())
    return _seams[0]


def _said(actor: Principal, context: Context) -> Context:
    """The sealed account is let in with a rationale alone, which each of its requests has."""
    return replace(context, rationale_present=True) if actor.method == "break_glass" else context


async def decide(
    actor: Principal, action: str, resource: Resource, context: Context = NO_CONTEXT, *, simulated: bool = False
) -> Decision:
    """Whether `actor` may do `action` to `resource`. Never raises: what cannot be judged is denied."""
    return await _seam().decide(actor, action, resource, _said(actor, context), simulated=simulated)


async def decide_many(questions: Sequence[Question], *, simulated: bool = False) -> list[Decision]:
    """The decisions in the order of their questions."""
    return await _seam().decide_many(questions, simulated=simulated)


async def require(actor: Principal, action: str, resource: Resource, context: Context = NO_CONTEXT) -> Decision:
    """`decide`, as a guard; the decision that allowed it. Both answers stand in the ledger of the command, if any.

    Raises:
        Denied: with the weightiest reason's wording and code, and all of them in its data.
    """
    decision = await _seam().decide(actor, action, resource, _said(actor, context))
    ledger.note(actor, action, resource, decision)
    if not decision.allow:
        raise _seam().counted(actor, action, decision)
    return decision


async def scope(actor: Principal, action: str, tenant: str) -> Scope:
    """What of a tenant `actor` sees in lists: a thing is covered exactly if `decide` allows `action` for it."""
    return await _seam().scope(actor, action, tenant)


async def require_scope(actor: Principal, action: str, kind: str, tenant: str) -> Scope:
    """`scope`, for whoever may do `action` to anything of this kind.

    Raises:
        Denied: they may not.
    """
    await require(actor, action, Resource(kind, "*", tenant))
    return await scope(actor, action, tenant)
