"""Executions and their steps as policy knows them: ids, risk, marking, who began it; no text that anybody wrote."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import asyncpg

from libs.common.contracts.marking import Marking
from libs.common.policy import Approval, Binding, Context, Resource
from libs.runbook.spec import Runbook
from services.executor.grants import Wanted
from services.executor.model import Execution

EXECUTION: Final = "execution"
NEVER: Final = 4_102_444_800
"""2100, in Unix seconds."""


def execution(found: Execution) -> Resource:
    """An execution under its lock."""
    return Resource(
        EXECUTION,
        found.execution_id,
        found.tenant_id,
        risk=found.spec.risk,
        status=found.frame.state,
        environment=found.marking.environment,
        clearance=found.marking.clearance,
        requester=found.initiator,
        version=found.version,
    )


def shown(row: asyncpg.Record) -> Resource:
    """An execution as it was read."""
    return Resource(
        EXECUTION,
        str(row["execution_id"]),
        row["tenant_id"],
        status=row["state"],
        environment=row["environment"],
        clearance=row["clearance"],
        requester=row["initiator"],
        version=row["version"],
    )


def beginning(spec: Runbook, tenant: str, marking: Marking) -> Resource:
    """A runbook that somebody wants to begin, for what is marked like this."""
    tags = dict(tag.partition("=")[::2] for tag in spec.tags)
    return Resource(
        "runbook",
        spec.id,
        tenant,
        risk=spec.risk,
        environment=marking.environment,
        clearance=marking.clearance,
        tags=tags,
    )


def action(name: str, tenant: str, risk: str, marking: Marking, *, mutating: bool) -> Resource:
    """What a step would do: the action by its name, so that policy can tell actions apart.

    What changes nothing is no high risk, whatever its runbook is.
    """
    return Resource(
        "action",
        name,
        tenant,
        risk=risk if mutating or risk != "high" else "medium",
        environment=marking.environment,
        clearance=marking.clearance,
    )


def by_hand(found: Execution, risk: str = "low") -> Resource:
    """A step that a person carries out. There is no risk in looking at it, or in saying that it was not done."""
    return replace(execution(found), risk=risk)


def evidence(incident_id: str, wanted: Wanted, rows: Sequence[asyncpg.Record]) -> Context:
    """What a high-risk step is carried out on: the grants that there are, and what they have to be for."""
    binding = Binding(
        incident_id=incident_id,
        execution_id=wanted.execution_id,
        step_run_id=wanted.step_run_id,
        plan_hash=wanted.plan_hash,
        action_hash=wanted.action_hash,
    )
    return Context(
        rationale_present=True, binding=binding, approvals=[_approval(incident_id, wanted, row) for row in rows]
    )


def assumed(tenant: str, requester: str) -> Context:
    """The evidence that there would be if somebody else approved: a plan asks what policy would say then."""
    named = {"execution_id": "plan", "step_run_id": "plan", "plan_hash": "plan", "action_hash": "plan"}
    approval = Approval(
        id="plan",
        state="granted",
        incident_id="",
        tenant=tenant,
        requester=requester,
        approver="somebody-else",
        expires_at=NEVER,
        **named,
    )
    return Context(rationale_present=True, binding=Binding(incident_id="", **named), approvals=[approval])


def _approval(incident_id: str, wanted: Wanted, row: Any) -> Approval:
    """The copy of a grant, whose incident is its execution's.

    A grant that this visit has used stands for the visit's other attempts: it stood when it was used.
    """
    own = str(row["execution_id"]) == wanted.execution_id
    used = row["state"] == "used" and str(row["step_run_id"]) == wanted.step_run_id
    expires_at = int(row["expires_at"].timestamp()) if row["expires_at"] else 0
    return Approval(
        id=str(row["approval_id"]),
        state="granted" if used else row["state"],
        incident_id=incident_id if own else "",
        execution_id=str(row["execution_id"] or ""),
        step_run_id=str(row["step_run_id"] or ""),
        plan_hash=row["plan_hash"],
        action_hash=row["action_hash"],
        tenant=row["tenant_id"],
        requester=wanted.requester,
        approver=row["actor"],
        expires_at=NEVER if used else expires_at,
    )
