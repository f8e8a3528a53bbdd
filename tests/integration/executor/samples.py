"""Steps of every type, and words about them, that tests of the executor share."""

from typing import Any

from services.executor.commands import CompleteStep
from tests.integration.executor.bench import Bench, step

RISKY = step(risk="high", approval={"prompt": "Reroute away from ${{ alert.name }}?", "expires": "5m"})
QUESTION = {"id": "ask", "type": "approval", "prompt": "Carry all of it out?", "expires": "10m", "approvers": ["lead"]}
BY_HAND = {
    "id": "replace", "type": "manual", "risk": "high", "instructions": "Replace the disk.", "evidence": "required",
}  # fmt: skip
OTHER = "f" * 64
VOID = [
    ("expires_at = clock_timestamp()", "approval_expired"),
    ("state = 'used'", "approval_used"),
    ("state = 'revoked'", "approval_revoked"),
    ("state = 'rejected'", "approval_rejected"),
    (f"plan_hash = '{OTHER}'", "approval_other_plan"),
    (f"action_hash = '{OTHER}'", "approval_other_action"),
    ("step_run_id = gen_random_uuid()", "approval_other_step"),
    ("actor = 'svc_executor'", "approval_own"),
]
"""What makes the executor's copy of a grant void, and the reason that is told."""
LOOK = {"with": {"method": "GET", "url": "http://127.0.0.1:9/look"}}
WAIT = {"id": "pause", "type": "wait", "for": "60s"}
CALL = {
    "id": "call", "type": "manual", "instructions": "Call the owner of ${{ alert.name }}.", "evidence": "required",
    "form": {
        "reached": {"type": "boolean"},
        "minutes": {"type": "integer", "required": False},
        "verdict": {"one_of": ["fine", "bad"], "label": "What they say", "required": False},
    },
}  # fmt: skip


def check(expect: str, step_id: str = "look", **more: Any) -> dict[str, Any]:
    """A check over what the target answers."""
    return {"id": step_id, "type": "check", "action": "http.request", **LOOK, "expect": expect, **more}


def told_step(shown: dict[str, Any], step_id: str) -> dict[str, Any]:
    """The step of that id, as it is shown."""
    found: dict[str, Any] = next(item for item in shown["steps"] if item["step"] == step_id)
    return found


async def complete(bench: Bench, execution: str, **more: Any) -> dict[str, Any]:
    """Tell that the owner was called."""
    told = {"outcome": "succeeded", "evidence_ref": "call/1", "values": {"reached": True}, **more}
    command = CompleteStep.model_validate({"execution_id": execution, "step": "call", **told})
    answer: dict[str, Any] = await bench.tell("complete_step", command)
    return answer


async def due(bench: Bench, kind: str) -> None:
    """Let the timers of a kind be due, and fire them."""
    await bench.database.pool.execute("UPDATE timer SET due_at = clock_timestamp() WHERE kind = $1", kind)
    await bench.timers().fire_due()


async def refused(bench: Bench, execution: str, code: str) -> None:
    """The execution failed for that reason and nothing of it ever ran."""
    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"]) == ("failed", "step_failed")
    assert shown["steps"][-1]["error_code"] == code
    assert (await bench.fact(execution, "step_failed"))["error_code"] == code
    assert [row["started_at"] for row in await bench.attempts(execution) if row["started_at"]] == []
    assert await bench.lock() is None
