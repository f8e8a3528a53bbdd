"""What beginning a runbook would do and what stands in its way, without doing any of it.

Everything is read in one snapshot, which cannot write; no lock is taken, so nothing waits for a preview. What it says
holds for that moment: an execution looks at all of it again, at each claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.database import Tx
from libs.common.policy import Context, Decision, Principal, Question, decide, decide_many, require, worded
from libs.common.rpc import Answer, Caller
from libs.runbook.expressions import ExpressionError
from libs.runbook.outlook import StepOutlook, outlook
from libs.runbook.planning import Plan, make_plan
from libs.runbook.problems import PlanRefused
from services.executor import about, hindrances, kill_switch, locks
from services.executor.commands import PlanRunbook
from services.executor.evaluator import evaluator_for
from services.executor.guards import outlook as guards
from services.executor.model import SERVICE
from services.executor.sources import Sources, Wanted
from services.executor.starting import refusal

WORKER: Final = Principal.system(SERVICE)


@dataclass(frozen=True, slots=True)
class Previews:
    """The question; it is asked inside a transaction that only reads."""

    sources: Sources

    async def plan(self, tx: Tx, caller: Caller, question: PlanRunbook) -> Answer:
        """Inputs, hashes, steps, locks, approvals, brakes and policy; `hindrances` says in words what would stop it.

        Raises:
            InvalidInput: it cannot be planned, for reasons that are all named.
        """
        wanted = await self.sources.wanted(caller, question)
        resource = about.beginning(wanted.spec, caller.tenant, wanted.marking)
        await require(caller.principal, "execution.preview", resource)
        evaluate = evaluator_for(wanted.spec)
        try:
            plan = make_plan(wanted.spec, question.inputs, wanted.facts, evaluate=evaluate)
        except (PlanRefused, ExpressionError) as error:
            raise refusal(error) from None
        steps = outlook(wanted.spec, plan, wanted.facts, evaluate=evaluate)
        held = await locks.holders(tx, caller.tenant, [s.resource for s in steps if s.resource and s.mutating])
        switches = await kill_switch.listing(tx, caller.tenant)
        start = await decide(caller.principal, "execution.start", resource)
        found = {
            **_head(wanted, plan),
            "alert": await _alert(tx, caller.tenant, wanted),
            "policy": {"start": _told(start)},
            "kill_switch": {"holds": any(switch["engaged"] for switch in switches), "items": switches},
            "steps": [_step(step, held, await _claim(step, caller, wanted)) for step in steps],
            "locks": [_lock(resource, steps, held) for resource in _resources(steps)],
            "approvals": [_approval(step, caller) for step in steps if step.approval is not None],
            "guards": await guards.hindrances(tx, caller.tenant, wanted.spec, plan.keys, _known(steps)),
        }
        return {**found, "hindrances": hindrances.of(found)}


def _head(wanted: Wanted, plan: Plan) -> dict[str, Any]:
    spec = wanted.spec
    return {
        "runbook_id": spec.id,
        "runbook_version": wanted.version,
        "name": spec.name,
        "risk": spec.risk,
        "mode": spec.mode,
        "spec_hash": plan.spec_hash,
        "plan_hash": plan.plan_hash,
        "inputs": dict(plan.inputs),
        "incident_id": wanted.facts.incident_id,
        "opens_incident": wanted.opens,
        "deadline": spec.deadline,
        "verify": spec.verify.model_dump(mode="json") if spec.verify else None,
    }


async def _alert(tx: Tx, tenant: str, wanted: Wanted) -> dict[str, Any] | None:
    """The alert and whether it fires, as the executor last heard; None where that is not known."""
    alert = wanted.facts.alert
    if alert is None:
        return None
    firing = await tx.fetchval(
        "SELECT firing FROM alert_state WHERE tenant_id = $1 AND incident_id = $2", tenant, wanted.facts.incident_id
    )
    return {"name": alert.name, "severity": alert.severity, "firing": firing}


async def _claim(step: StepOutlook, caller: Caller, wanted: Wanted) -> dict[str, Any] | None:
    """What policy says at the claim, to the worker and to whoever begins it; None where nothing is claimed."""
    if not step.node.action:
        return None
    action = about.action(step.node.action, caller.tenant, step.risk, wanted.marking, mutating=step.mutating)
    context = Context(rationale_present=True)
    if step.approval is not None:
        context = about.assumed(caller.tenant, caller.principal.actor)
    asked = [Question(WORKER, "step.claim", action, context), Question(caller.principal, "step.run", action, context)]
    decisions = await decide_many(asked, simulated=True)
    return _told(next((decision for decision in decisions if not decision.allow), decisions[-1]))


def _step(step: StepOutlook, held: Mapping[str, dict[str, Any]], policy: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "step": step.node.path,
        "type": step.node.type,
        "name": step.name,
        "action": step.node.action,
        "effect": step.node.effect,
        "risk": step.risk,
        "mutating": step.mutating,
        "requires_firing": step.requires_firing,
        "when": step.when,
        "applies": step.applies,
        "values": step.values,
        "resource": step.resource,
        "holder": held.get(step.resource or "") if step.mutating else None,
        "approval": step.node.approval,
        "action_hash": step.action_hash,
        "known_after": list(step.after),
        "later": [{"at": item.at, "template": item.template, "after": list(item.after)} for item in step.later],
        "faults": [{"at": item.at, "template": item.template, "message": item.message} for item in step.faults],
        "policy": policy,
        "next": step.node.next,
        "on_failure": step.node.on_failure,
    }


def _resources(steps: Sequence[StepOutlook]) -> list[str]:
    return sorted({step.resource for step in steps if step.resource and step.mutating})


def _known(steps: Sequence[StepOutlook]) -> list[str]:
    """The resources that would be changed, but for those whose name depends on what a step answers."""
    named = [step for step in steps if all(item.at != "resource" for item in step.later)]
    return _resources([step for step in named if step.applies is not False])


def _lock(resource: str, steps: Sequence[StepOutlook], held: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A lock that would be taken; one whose name depends on what a step answers is shown as it is written."""
    takers = [step for step in steps if step.mutating and step.resource == resource]
    after = {path for step in takers for item in step.later if item.at == "resource" for path in item.after}
    paths = [step.node.path for step in takers]
    return {"resource_id": resource, "steps": paths, "known_after": sorted(after), "holder": held.get(resource)}


def _approval(step: StepOutlook, caller: Caller) -> dict[str, Any]:
    """What would be asked for. Whoever begins the runbook asks, and cannot grant."""
    asked = step.approval
    assert asked is not None
    return {
        "step": step.node.path,
        "of": asked.of,
        "prompt": asked.prompt,
        "risk": asked.risk,
        "expires_seconds": asked.expires_seconds,
        "approvers": list(asked.approvers),
        **asked.terms,
        "not_by": caller.principal.actor,
        "action_hash": step.action_hash,
        "known_after": list(step.after),
    }


def _told(decision: Decision) -> dict[str, Any]:
    text, fix = ("", "") if decision.allow else worded(decision.reasons[0])
    return {"allow": decision.allow, "reason": decision.reason, "text": text, "fix": fix}
