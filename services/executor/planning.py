"""A match becomes an execution: the spec is fetched once and checked by its hash, inputs are resolved, and it starts.

What cannot be planned is an execution too: it ends `failed` with the reasons, so that nobody waits for it in vain.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.common.clock import Clock
from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.execution import ExecutionFailed, ExecutionPlanned
from libs.common.contracts.fact import Fact as PublishedFact
from libs.common.contracts.incident import Severity
from libs.common.contracts.marking import UNMARKED, Marking
from libs.common.contracts.runbook import RunbookMatched
from libs.common.database import Tx
from libs.common.errors import Unavailable
from libs.common.ids import derived_id
from libs.common.outbox import Outbox, OutboxEvent
from libs.common.policy import Principal, Resource, require
from libs.runbook.dry_run import dry
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
from services.executor.guards import admission
from services.executor.model import ACTOR, SERVICE, Execution, Hint

FetchSpec = Callable[[str, str, int], Awaitable[Runbook]]
"""(tenant, runbook id, version) → spec, from the catalog. Raises `Unavailable` when it does not answer."""


class SpecMismatch(RuntimeError):
    """The catalog's spec is not the one that its fact named: nothing is planned from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What an execution is begun for. `match_id` is empty when a person asks; `title` is of an incident to open.

    `retry_of` is an execution that it goes on with at `retry_from`; `carried` is what that one has been through.
    """

    execution_id: str
    tenant_id: str
    runbook_version: int
    spec_hash: str
    facts: PlanFacts
    initiator: str
    correlation: str
    because: Because
    inputs: Mapping[str, Any] = field(default_factory=dict)
    match_id: str = ""
    title: str | None = None
    severity: Severity | None = None
    dry_run: bool = False
    retry_of: str = ""
    retry_from: str = ""
    rationale: str = ""
    carried: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    marking: Marking = UNMARKED
    rights: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans matches, and what people start."""

    outbox: Outbox
    fetch: FetchSpec
    clock: Clock

    async def plan(self, tx: Tx, messages: Sequence[Received[FactReceived]]) -> list[Hint]:
        """One execution a match, however often it is reported; returns the actions that are ready."""
        specs: dict[tuple[str, str], Runbook] = {}
        planned = [await self._plan_one(tx, message, specs) for message in messages]
        return await fold(tx, self.outbox, await self._store(tx, planned), now=self.clock())

    async def begin(self, tx: Tx, spec: Runbook, occasion: Occasion) -> list[Hint]:
        """Begin what a person asked for; returns the actions that are ready.

        Raises:
            PlanRefused, ExpressionError: it cannot be planned; nothing was stored.
        """
        plan = make_plan(spec, occasion.inputs, occasion.facts, evaluate=evaluator_for(spec))
        await storage.keep_spec(tx, occasion.tenant_id, occasion.spec_hash, spec, occasion.runbook_version)
        followed = dry(spec) if occasion.dry_run else spec
        planned = Planned(_execution(followed, occasion, plan, ""), occasion, plan)
        return await fold(tx, self.outbox, await self._store(tx, [planned]), now=self.clock())

    async def _plan_one(
        self, tx: Tx, message: Received[FactReceived], specs: dict[tuple[str, str], Runbook]
    ) -> "Planned":
        match = message.value.fact
        assert isinstance(match, RunbookMatched)
        await require(Principal.system(SERVICE), "execution.plan", Resource("execution", "*", message.tenant))
        named = (message.tenant, match.spec_hash)
        if named not in specs:
            specs[named] = await self._spec(tx, message.tenant, match)
        spec = specs[named]
        traceparent = handled_span(message, SERVICE, **{"ranger.incident_id": match.incident_id})
        occasion = Occasion(
            execution_id=derived_id("execution", match.match_id),
            tenant_id=message.tenant,
            runbook_version=match.runbook_version,
            spec_hash=match.spec_hash,
            facts=PlanFacts(
                alert=AlertFacts(match.alert_name, match.severity, match.labels, match.annotations),
                incident_id=match.incident_id,
            ),
            initiator=ACTOR,
            correlation=message.value.envelope.correlation,
            because=Because(ACTOR, message.event_id, traceparent),
            match_id=match.match_id,
            marking=message.value.envelope.marking,
        )
        plan, refusal = _planned(spec, occasion)
        return Planned(_execution(spec, occasion, plan, refusal), occasion, plan, refusal)

    async def _store(self, tx: Tx, planned: Sequence["Planned"]) -> list[Change]:
        """Store the executions and say that they are planned, in a statement each; what there is to start."""
        once = {each.execution.execution_id: each for each in reversed(planned)}
        new = await storage.insert_executions(tx, [(each.execution, each.occasion.match_id) for each in once.values()])
        stored = [each for execution_id, each in reversed(once.items()) if execution_id in new]  # as they came
        await self.outbox.add(tx, [self._event(each) for each in stored])
        begun = [each for each in stored if each.plan is not None]
        firing = await storage.alerts_fire(tx, {each.about for each in begun})
        changes = [
            Change(each.execution, [_started(each, firing.get(each.about))], each.occasion.because) for each in begun
        ]
        keys = {each.execution.execution_id: each.plan.keys for each in begun if each.plan is not None}
        return await admission.admit(tx, self.outbox, changes, keys, now=self.clock())

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

    def _event(self, planned: "Planned") -> OutboxEvent:
        execution, occasion = planned.execution, planned.occasion
        return self.outbox.event(
            _first_fact(execution, occasion, planned.plan, planned.refusal),
            aggregate_id=execution.execution_id,
            aggregate_version=1,
            cause=cause_of(execution, occasion.because),
            now=self.clock(),
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """An execution that is not stored yet; without a plan, it was refused."""

    execution: Execution
    occasion: Occasion
    plan: Plan | None
    refusal: str = ""

    @property
    def about(self) -> tuple[str, str]:
        """(tenant, incident)."""
        return self.occasion.tenant_id, self.occasion.facts.incident_id


def _started(planned: Planned, firing: bool | None) -> Started:
    return Started(firing, by_person=planned.occasion.initiator != ACTOR)


def _execution(spec: Runbook, occasion: Occasion, plan: Plan | None, refusal: str) -> Execution:
    return Execution(
        execution_id=occasion.execution_id,
        tenant_id=occasion.tenant_id,
        incident_id=occasion.facts.incident_id,
        runbook_id=spec.id,
        runbook_version=occasion.runbook_version,
        spec_hash=occasion.spec_hash,
        plan_hash=plan.plan_hash if plan else "",
        initiator=occasion.initiator,
        correlation=occasion.correlation,
        traceparent=occasion.because.traceparent,
        inputs=plan.inputs if plan else {},
        facts=occasion.facts,
        version=1,
        frame=Frame(carried=occasion.carried) if plan else Frame(state="failed", reason=f"plan_refused: {refusal}"),
        spec=spec,
        dry_run=occasion.dry_run,
        retry_of=occasion.retry_of,
        retry_from=occasion.retry_from,
        marking=occasion.marking,
        rights=occasion.rights,
    )


def _first_fact(execution: Execution, occasion: Occasion, plan: Plan | None, refusal: str) -> PublishedFact:
    if plan is None:
        return ExecutionFailed(
            execution_id=execution.execution_id,
            incident_id=execution.incident_id,
            runbook_id=execution.runbook_id,
            reason=f"plan_refused: {refusal}"[:2000],
        )
    return ExecutionPlanned(
        execution_id=execution.execution_id,
        incident_id=execution.incident_id,
        runbook_id=execution.runbook_id,
        runbook_version=execution.runbook_version,
        spec_hash=plan.spec_hash,
        plan_hash=plan.plan_hash,
        steps=[node.path for node in plan.graph],
        opens_incident=occasion.title is not None,
        title=occasion.title,
        severity=occasion.severity,
        dry_run=occasion.dry_run or None,
        retry_of=occasion.retry_of or None,
        retry_from=occasion.retry_from or None,
        rationale=occasion.rationale or None,
    )


def _planned(spec: Runbook, occasion: Occasion) -> tuple[Plan | None, str]:
    try:
        return make_plan(spec, occasion.inputs, occasion.facts, evaluate=evaluator_for(spec)), ""
    except (PlanRefused, ExpressionError) as error:
        return None, str(error)
