"""What `advance` asks to be published, as facts of the contracts."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from libs.common.clock import rfc3339
from libs.common.contracts import execution as contract
from libs.common.contracts.fact import Fact
from libs.runbook.dry_run import NOT_SIMULATED, mark
from libs.runbook.effects import FactType, PublishFact
from services.executor.model import Attempt, Execution, idem_key


def to_fact(
    execution: Execution,
    effect: PublishFact,
    attempt: Attempt | None,
    finished_at: str,
    outputs: Mapping[str, Any],
) -> Fact:
    """The fact; `attempt` is the last of the step that it is about, where one was made, `outputs` what it answered."""
    if effect.type == "step_completed":
        return _completed(execution, effect.data, attempt, finished_at, outputs)
    return _FACTS[effect.type](execution, effect.data, attempt)


def outputs_sha256(outputs: Mapping[str, Any]) -> str:
    """The hash that names a step's outputs: SHA-256 over their JSON with sorted keys."""
    return hashlib.sha256(orjson.dumps(dict(outputs), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _about(execution: Execution) -> dict[str, Any]:
    return {
        "dry_run": execution.dry_run or None,
        "execution_id": execution.execution_id,
        "incident_id": execution.incident_id,
        "runbook_id": execution.runbook_id,
    }


def _step(execution: Execution, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_about(execution),
        "step_run_id": execution.step_run_id(data["path"], data["visit"]),
        "step": data["path"],
        "visit": data["visit"],
        "attempt": data["attempt"],
    }


def _completed(
    execution: Execution,
    data: Mapping[str, Any],
    attempt: Attempt | None,
    finished_at: str,
    outputs: Mapping[str, Any],
) -> contract.StepCompleted:
    step = execution.spec.step(data["path"])
    return contract.StepCompleted(
        **_step(execution, data),
        action=step.action_name,
        effect=step.effect_name,
        action_hash=attempt.action_hash if attempt else "",
        fence=attempt.fence if attempt else 0,
        worker=attempt.worker_id if attempt else "",
        started_at=rfc3339(attempt.started_at) if attempt and attempt.started_at else "",
        finished_at=finished_at,
        outputs_sha256=outputs_sha256(outputs),
        decided_by_person=data["decided_by_person"],
        evidence_ref=data.get("evidence_ref") or None,
    )


def _unknown(execution: Execution, data: Mapping[str, Any], attempt: Attempt | None) -> contract.StepUnknown:
    step = _step(execution, data)
    return contract.StepUnknown(
        **step,
        reason=data["reason"],
        idem_key=idem_key(step["step_run_id"]),
        resource_id=(attempt.resource_id or "") if attempt else "",
    )


def _failed_step(execution: Execution, data: Mapping[str, Any], _attempt: Attempt | None) -> contract.StepFailed:
    return contract.StepFailed(
        **_step(execution, data),
        error_code=data["error_code"],
        message=data["message"][:2000],
        will_retry=data["will_retry"],
        evidence_ref=data.get("evidence_ref") or None,
    )


def _decided(execution: Execution, data: Mapping[str, Any], _attempt: Attempt | None) -> contract.StepDecided:
    return contract.StepDecided(**_step(execution, data), decision=data["decision"], rationale=data["rationale"])


def _blocked(execution: Execution, data: Mapping[str, Any], _attempt: Attempt | None) -> contract.ExecutionBlocked:
    about: dict[str, Any] = _about(execution)
    asked = {key: data[key] for key in _ASKED if key in data} if data["reason"] == "approval" else {}
    return contract.ExecutionBlocked(**about, reason=data["reason"], step=data["path"], **asked)


def _skipped(execution: Execution, data: Mapping[str, Any], _attempt: Attempt | None) -> contract.StepSkipped:
    left_out = mark(execution.spec.step(data["path"])) == NOT_SIMULATED
    reason = NOT_SIMULATED if execution.dry_run and left_out else data["reason"]
    return contract.StepSkipped(**_step(execution, data), reason=reason)


def _failed(execution: Execution, data: Mapping[str, Any], _attempt: Attempt | None) -> contract.ExecutionFailed:
    about: dict[str, Any] = _about(execution)
    rationale = data.get("rationale")
    rolled_back = data.get("rolled_back")
    return contract.ExecutionFailed(
        **about, reason=data["reason"], step=data["path"], rationale=rationale, rolled_back=rolled_back
    )


def _rolling_back(
    execution: Execution, data: Mapping[str, Any], _attempt: Attempt | None
) -> contract.ExecutionRollingBack:
    return contract.ExecutionRollingBack(
        **_about(execution),
        reason=data["reason"],
        step=data["path"],
        changes=data["changes"],
        rationale=data.get("rationale"),
    )


_ASKED: Final = (
    "step_run_id", "plan_hash", "action_hash", "approval_of", "risk", "requester", "expires_seconds", "prompt",
    "action", "resource_id", "approvers", "detail", "refused_code", "refused_approval_id", "refused_plan_hash",
    "refused_action_hash", "quorum", "groups", "remind_after_seconds", "escalation", "form", "arguments",
)  # fmt: skip
_Build = Callable[[Execution, Mapping[str, Any], Attempt | None], Fact]
_FACTS: Final[Mapping[FactType, _Build]] = {
    "started": lambda e, _d, _a: contract.ExecutionStarted(**_about(e), plan_hash=e.plan_hash),
    "blocked": _blocked,
    "unblocked": lambda e, d, _a: contract.ExecutionUnblocked(**_about(e), reason=d["reason"], step=d["path"]),
    "step_failed": _failed_step,
    "step_unknown": _unknown,
    "step_decided": _decided,
    "paused": lambda e, d, _a: contract.ExecutionPaused(**_about(e), rationale=d["rationale"]),
    "resumed": lambda e, d, _a: contract.ExecutionResumed(**_about(e), rationale=d["rationale"]),
    "rolling_back": _rolling_back,
    "completed": lambda e, d, _a: contract.ExecutionCompleted(**_about(e), verified=d["verified"]),
    "step_skipped": _skipped,
    "failed": _failed,
    "aborted": lambda e, d, _a: contract.ExecutionAborted(**_about(e), rationale=d["rationale"]),
}
