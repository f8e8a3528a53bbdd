"""A match becomes an execution: the spec is fetched once and checked by its hash, inputs are resolved, and it starts.

What cannot be planned is an execution too: it ends `failed` with the reasons, so that nobody waits for it in vain.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from libs.common.clock import Clock
from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.execution import ExecutionFailed, ExecutionPlanned
from libs.common.contracts.fact import Fact as PublishedFact
from libs.common.contracts.runbook import RunbookMatched
from libs.common.database import Tx
from libs.common.errors import Unavailable
from libs.common.ids import derived_id
from libs.common.outbox import Outbox
from libs.common.policy import Principal, Resource, require
from libs.runbook.expressions import ExpressionError
from libs.runbook.facts import Started
from libs.runbook.frame import Frame
from libs.runbook.hashing import spec_hash
from libs.runbook.planning import Plan, PlanFacts, make_plan
from libs.runbook.problems import PlanRefused
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts
from services.executor import storage
from services.executor.evaluator import evaluator_for
from services.executor.fold import Because, Change, cause_of, fold
from services.executor.model import ACTOR, SERVICE, Execution, Hint

FetchSpec = Callable[[str, str, int], Awaitable[Runbook]]
"""(tenant, runbook id, version) → spec, from the catalog. Raises `Unavailable` when it does not answer."""


class SpecMismatch(RuntimeError):
    """The catalog's spec is not the one that its fact named: nothing is planned from it."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans matches."""

    outbox: Outbox
    fetch: FetchSpec
    clock: Clock

    async def plan(self, tx: Tx, messages: Sequence[Received[FactReceived]]) -> list[Hint]:
        """One execution a match, however often it is reported; returns the actions that are ready."""
        changes: list[Change] = []
        specs: dict[tuple[str, str], Runbook] = {}
        for message in messages:
            change = await self._plan_one(tx, message, specs)
            if change is not None:
                changes.append(change)
        return await fold(tx, self.outbox, changes, now=self.clock())

    async def _plan_one(
        self, tx: Tx, message: Received[FactReceived], specs: dict[tuple[str, str], Runbook]
    ) -> Change | None:
        match = message.value.fact
        assert isinstance(match, RunbookMatched)
        require(Principal.system(SERVICE), "execution.plan", Resource("execution", match.match_id, message.tenant))
        named = (message.tenant, match.spec_hash)
        if named not in specs:
            specs[named] = await self._spec(tx, message.tenant, match)
        spec = specs[named]
        execution_id = derived_id("execution", match.match_id)
        traceparent = handled_span(message, SERVICE, **{"ranger.incident_id": match.incident_id})
        because = Because(ACTOR, message.event_id, traceparent)
        facts = PlanFacts(
            alert=AlertFacts(match.alert_name, match.severity, match.labels, match.annotations),
            incident_id=match.incident_id,
        )
        plan, refusal = _planned(spec, facts)
        execution = Execution(
            execution_id=execution_id,
            tenant_id=message.tenant,
            incident_id=match.incident_id,
            runbook_id=match.runbook_id,
            runbook_version=match.runbook_version,
            spec_hash=match.spec_hash,
            plan_hash=plan.plan_hash if plan else "",
            initiator=ACTOR,
            correlation=message.value.envelope.correlation,
            traceparent=traceparent,
            inputs=plan.inputs if plan else {},
            facts=facts,
            version=1,
            frame=Frame() if plan else Frame(state="failed", reason=f"plan_refused: {refusal}"),
            spec=spec,
        )
        if not await storage.insert_execution(tx, execution, match.match_id):
            return None
        await self._publish(tx, execution, plan, refusal, because)
        if plan is None:
            return None
        firing = await storage.alert_fires(tx, message.tenant, match.incident_id)
        return Change(execution, [Started(alert_firing=firing)], because)

    async def _spec(self, tx: Tx, tenant: str, match: RunbookMatched) -> Runbook:
        known = await storage.known_spec(tx, tenant, match.spec_hash)
        if known is None:
            try:
                known = await self.fetch(tenant, match.runbook_id, match.runbook_version)
            except Unavailable as error:
                # The batch waits for the catalog as it would wait for a server.
                raise TimeoutError(error.detail) from None
            if spec_hash(known.to_json()) != match.spec_hash:
                raise SpecMismatch(f"{match.runbook_id} version {match.runbook_version} is not {match.spec_hash}")
            await storage.keep_spec(tx, tenant, match.spec_hash, known, match.runbook_version)
        return known

    async def _publish(self, tx: Tx, execution: Execution, plan: Plan | None, refusal: str, because: Because) -> None:
        about = {
            "execution_id": execution.execution_id,
            "incident_id": execution.incident_id,
            "runbook_id": execution.runbook_id,
        }
        fact: PublishedFact
        if plan is None:
            fact = ExecutionFailed(**about, reason=f"plan_refused: {refusal}"[:2000])
        else:
            fact = ExecutionPlanned(
                **about,
                runbook_version=execution.runbook_version,
                spec_hash=plan.spec_hash,
                plan_hash=plan.plan_hash,
                steps=[node.path for node in plan.graph],
            )
        event = self.outbox.event(
            fact,
            aggregate_id=execution.execution_id,
            aggregate_version=1,
            cause=cause_of(execution, because),
            now=self.clock(),
        )
        await self.outbox.add(tx, [event])


def _planned(spec: Runbook, facts: PlanFacts) -> tuple[Plan | None, str]:
    try:
        return make_plan(spec, {}, facts, evaluate=evaluator_for(spec)), ""
    except (PlanRefused, ExpressionError) as error:
        return None, str(error)
