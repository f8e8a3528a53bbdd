"""Executions and their steps as policy knows them: ids, risk, marking, who began it; no text that anybody wrote."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from libs.common.contracts.marking import Marking
from libs.common.policy import Approval, Binding, Context, Resource
from libs.runbook.spec import Runbook
from services.executor.grants import Wanted
from services.executor.model import Execution

EXECUTION = "execution"


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


def action(name: str, tenant: str, risk: str, marking: Marking) -> Resource:
    """What a step would do: the action by its name, so that policy can tell actions apart."""
    return Resource("action", name, tenant, risk=risk, environment=marking.environment, clearance=marking.clearance)


def step(found: Execution, path: str) -> Resource:
    """A step that a person carries out."""
    return Resource(
        EXECUTION,
        found.execution_id,
        found.tenant_id,
        risk=found.spec.risk_of(path),
        status=found.frame.state,
        environment=found.marking.environment,
        clearance=found.marking.clearance,
        requester=found.initiator,
        version=found.version,
    )


def evidence(found: Execution, wanted: Wanted, rows: Sequence[asyncpg.Record]) -> Context:
    """What a high-risk step is completed on: the grants that are named, and what they have to be for."""
    binding = Binding(
        incident_id=found.incident_id,
        execution_id=wanted.execution_id,
        step_run_id=wanted.step_run_id,
        plan_hash=wanted.plan_hash,
        action_hash=wanted.action_hash,
    )
    return Context(rationale_present=True, binding=binding, approvals=[_approval(found, row) for row in rows])


def _approval(found: Execution, row: Any) -> Approval:
    """The copy of a grant; it names no incident, so that it is its execution's."""
    own = str(row["execution_id"]) == found.execution_id
    return Approval(
        id=str(row["approval_id"]),
        state=row["state"],
        incident_id=found.incident_id if own else "",
        execution_id=str(row["execution_id"] or ""),
        step_run_id=str(row["step_run_id"] or ""),
        plan_hash=row["plan_hash"],
        action_hash=row["action_hash"],
        tenant=row["tenant_id"],
        requester=found.initiator,
        approver=row["actor"],
        expires_at=int(row["expires_at"].timestamp()) if row["expires_at"] else 0,
    )
