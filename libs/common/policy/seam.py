"""The policy seam: who asks, for what, about which thing, in which circumstances; allowed or not, and why.

Asked in every command, at every claim and for every list. Closed and total: an unknown action, a question outside the
schema, an engine that fails or says anything unexpected are denials like any other, each with its code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from libs.common import metrics
from libs.common.errors import Denied
from libs.common.ids import new_id
from libs.common.policy.actions import ACTIONS, Action
from libs.common.policy.again import TTL_MS, Kept
from libs.common.policy.engines.base import EngineFailed, PolicyEngine
from libs.common.policy.inputs import Document, InputRefused, document, key
from libs.common.policy.model import ALL, NOTHING, Context, Decision, Principal, Reason, Resource, Scope
from libs.common.policy.reasons import explained, worded
from libs.common.policy.verdicts import seen, verdict
from libs.common.telemetry import log

T = TypeVar("T")
NO_CONTEXT: Final = Context()
AT_ONCE: Final = 16
"""Questions of a batch between which the loop may turn to others."""


class Question(NamedTuple):
    """One of many."""

    actor: Principal
    action: str
    resource: Resource
    context: Context = NO_CONTEXT


class Seam:
    """The questions, put to an engine. `clock`: Unix seconds; `monotonic`: for how long answers stand."""

    def __init__(
        self,
        engine: PolicyEngine,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self._clock = clock
        self._kept: Kept[Decision] = Kept(monotonic)
        self._scopes: Kept[Scope] = Kept(monotonic)

    async def decide(
        self,
        actor: Principal,
        action: str,
        resource: Resource,
        context: Context = NO_CONTEXT,
        *,
        simulated: bool = False,
    ) -> Decision:
        """Whether `actor` may do `action` to `resource`. Never raises: what cannot be judged is denied."""
        began = time.perf_counter()
        try:
            known, asked = self._asked(actor, action, resource, context)
        except InputRefused as refused:
            code = "input" if action in ACTIONS else "unknown_action"
            return self._denied(code, {"attribute": str(refused)} if code == "input" else {}, simulated=simulated)
        stands = not simulated and _stands(known, actor, resource, context)
        entrypoint = f"{known.package.replace('.', '/')}/decision"
        name = b""
        if stands:
            name = key(self.engine.revision, entrypoint, asked, epoch=actor.epoch, version=resource.version)
        kept = self._kept.get(name) if stands else None
        if kept is not None:
            metrics.POLICY.labels("again").observe(time.perf_counter() - began)
            return replace(kept[0], ttl_ms=kept[1])
        found = await self._judged(known, entrypoint, asked, TTL_MS if stands else 0, simulated=simulated)
        metrics.POLICY.labels(self.engine.name).observe(time.perf_counter() - began)
        if stands and found.ttl_ms:
            self._kept.put(name, found)
        return found

    def counted(self, actor: Principal, action: str, decision: Decision) -> Denied:
        """A denial, counted, as the error that its asker gets: the weightiest reason's wording, and all of them."""
        if decision.reason != "engine":  # which was counted where it failed
            metrics.DENIALS.labels(_label(action), decision.reason).inc()
        return refusal(actor, action, decision)

    async def decide_many(self, questions: Sequence[Question], *, simulated: bool = False) -> list[Decision]:
        """The decisions in the order of their questions; others get their turn in between."""
        found: list[Decision] = []
        for first in range(0, len(questions), AT_ONCE):
            some = questions[first : first + AT_ONCE]
            found += await asyncio.gather(*(self.decide(*question, simulated=simulated) for question in some))
        return found

    async def scope(self, actor: Principal, action: str, tenant: str) -> Scope:
        """What `actor` sees of a tenant's things in lists; `*` is every tenant of theirs. Never raises.

        A thing is covered exactly if `decide` allows the same action for it.
        """
        known = ACTIONS.get(action)
        if known is None or not known.looks:
            return NOTHING
        try:
            _, asked = self._asked(actor, action, Resource(known.kinds[0], "*", tenant), NO_CONTEXT)
        except InputRefused:
            return NOTHING
        entrypoint = f"{known.package.replace('.', '/')}/scope"
        name = key(self.engine.revision, entrypoint, asked, epoch=actor.epoch, version=0)
        kept = self._scopes.get(name) if known.again else None
        if kept is not None:
            return kept[0]
        try:
            found = _within((await self._evaluated(known, entrypoint, asked, seen))[0], tenant)
        except EngineFailed:
            return NOTHING
        if known.again:
            self._scopes.put(name, found)
        return found

    def _asked(self, actor: Principal, action: str, resource: Resource, context: Context) -> tuple[Action, Document]:
        known = ACTIONS.get(action)
        if known is None:
            raise InputRefused("action")
        if resource.kind not in known.kinds:
            raise InputRefused("resource.type")
        return known, document(actor, action, resource, context, now=int(self._clock()))

    async def _judged(
        self, known: Action, entrypoint: str, asked: Document, ttl_ms: int, *, simulated: bool
    ) -> Decision:
        try:
            read, revision = await self._evaluated(
                known, entrypoint, asked, lambda value: verdict(value, known.package, asked)
            )
        except EngineFailed:
            return self._denied("engine", {}, simulated=simulated)
        return Decision(
            new_id(), read.allow, read.reasons, read.obligations, self.engine.name, revision, ttl_ms, simulated
        )

    async def _evaluated(
        self, known: Action, entrypoint: str, asked: Document, read: Callable[[object], T]
    ) -> tuple[T, str]:
        """The engine's answer as `read` reads it, and the revision that gave it.

        Raises:
            EngineFailed: there is none, or it cannot be read. It is logged and counted here.
        """
        try:
            found = await self.engine.evaluate(entrypoint, asked)
            return read(found.value), found.revision
        except EngineFailed as error:
            metrics.DENIALS.labels(known.name, "engine").inc()
            log.error("policy_engine_failed", engine=self.engine.name, entrypoint=entrypoint, error=str(error))
            raise

    def _denied(self, code: str, params: dict[str, str], *, simulated: bool) -> Decision:
        """A denial of the seam's own."""
        reason = Reason(code, "deny", f"seam.{code}", params)
        name, revision = self.engine.name, self.engine.revision
        return Decision(new_id(), allow=False, reasons=(reason,), engine=name, revision=revision, simulated=simulated)


def refusal(actor: Principal, action: str, decision: Decision) -> Denied:
    """A denial as the error that its asker gets."""
    text, fix = worded(decision.reasons[0])
    return Denied(
        f"{actor.actor} may not {action}: {text}",
        fix=fix,
        code=f"policy.{decision.reason}",
        decision_id=decision.decision_id,
        reasons=explained(decision)["reasons"],
    )


def _stands(known: Action, actor: Principal, resource: Resource, context: Context) -> bool:
    """Whether the answer may be used again: never for high risk, evidence, the kill switch or a person's command."""
    return (
        known.again
        and (known.looks or actor.kind == "service" or known.name == "step.run")
        and resource.risk != "high"
        and not context.kill_switch
        and not context.approvals
    )


def _within(found: Scope, tenant: str) -> Scope:
    if tenant in ALL or not found.allow:
        return found
    own = found.tenants == ALL or tenant in found.tenants
    return replace(found, tenants=frozenset({tenant})) if own and tenant else NOTHING


def _label(action: str) -> str:
    return action if action in ACTIONS else "unknown"
