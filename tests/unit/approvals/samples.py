"""Approvals as units see them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.common.contracts.envelope import Envelope
from libs.common.contracts.execution import ExecutionBlocked
from services.approvals.docket import question
from services.approvals.lifecycle import State
from services.approvals.model import Approval, Word

NOW = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)
PLAN, ACTION = "a" * 64, "b" * 64
MINUTES_15 = timedelta(minutes=15)


def blocked(**more: Any) -> ExecutionBlocked:
    """An execution that waits for an approval of an action."""
    fields = {
        "execution_id": "e-1", "incident_id": "i-1", "runbook_id": "reroute", "reason": "approval", "step": "shift",
        "step_run_id": "s-1", "plan_hash": PLAN, "action_hash": ACTION, "approval_of": "action", "risk": "high",
        "requester": "rita", "expires_seconds": 900.0, "prompt": "Shift all traffic?", "action": "http.request",
        "resource_id": "shard-7",
    }  # fmt: skip
    return ExecutionBlocked.model_validate(fields | more)


def envelope(version: int = 3, *, tenant: str = "acme") -> Envelope:
    """Around it."""
    return Envelope(
        id="0198c0de-0000-7000-8000-000000000001", type="runbook.blocked", source="/svc/executor",
        time="2026-03-01T09:59:50.000000Z", aggregate_type="execution", aggregate_id="e-1", aggregate_version=version,
        tenant=tenant, actor="svc_executor", correlation="c-1",
    )  # fmt: skip


def asked(version: int = 3, **more: Any) -> Approval:
    """The question that this makes."""
    return question(blocked(**more), envelope(version), now=NOW, default_seconds=60)


def in_state(state: State) -> Approval:
    """An approval that has come this far."""
    return replace(asked(), state=state)


def word(actor: str = "ada", *roles: str) -> Word:
    """What somebody says."""
    return Word(
        actor=actor,
        names=frozenset(roles or ("operator",)),
        rationale="checked the plan",
        channel="cli",
        method="token",
        decision_id=f"d-{actor}",
        policy_revision="r-1",
    )
