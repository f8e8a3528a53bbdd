"""One attempt from hint to settlement: read the target's tags, claim, act, settle.

What a crash leaves: before the claim's commit, a ready action; after it, a lease that runs out; after the settlement's
commit, ready actions without a hint. The sweeper finds each of them.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

import orjson
from msgspec import Struct
from opentelemetry.trace import SpanKind

from libs.actions import (
    ActionContext,
    ActionResult,
    Effect,
    Egress,
    Lease,
    Registry,
    check_tags,
    invoke,
)
from libs.actions.errors import UnknownAction
from libs.actions.shell_policy import ShellPolicy
from libs.common import telemetry
from libs.common.crash import crash_point
from libs.common.database import Database, patiently
from libs.common.objectstore import StoreUnavailable
from libs.common.telemetry import log
from services.executor import metrics, storage
from services.executor.claims import Asked, Claims
from services.executor.hints import URGENT, Hints
from services.executor.model import Attempt, Settlement
from services.executor.settings import ExecutorSettings
from services.executor.settlement import Settlements
from services.executor.worker.batcher import Batcher
from services.executor.worker.leases import Leases
from services.executor.worker.objects import Objects
from services.executor.worker.outcomes import settlement_of

GROUP: Final = 64
IN_A_ROW: Final = 16
"""Steps of one execution that a slot goes on with, before others have their turn."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A hint as it stands in Redis."""

    stream: str
    entry_id: bytes
    action_id: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Means:
    """What actions are carried out with."""

    registry: Registry
    egress: Egress
    shell: ShellPolicy
    channels: Mapping[str, str]
    objects: Objects


class Begun(Struct, frozen=True):
    """A claimed attempt, and the monotonic moment before which its lease did not begin."""

    attempt: Attempt
    before: float


class Worker:
    """Carries out what is hinted, as many at once as there are slots."""

    def __init__(
        self,
        *,
        database: Database,
        claims: Claims,
        settlements: Settlements,
        hints: Hints,
        leases: Leases,
        means: Means,
        settings: ExecutorSettings,
    ) -> None:
        self._database = database
        self._claims = claims
        self._settlements = settlements
        self._hints = hints
        self._leases = leases
        self._means = means
        self._slots = asyncio.Semaphore(settings.worker_slots)
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming = Batcher("claim", self._claim, limit=GROUP)
        self._settling = Batcher("settle", self._settle, limit=GROUP)
        self._draining = False
        self._urgent = 0
        self._acknowledging = Batcher("acknowledge", self._acknowledge, limit=256)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for batcher in (self._claiming, self._settling, self._acknowledging):
                group.create_task(batcher.run())
            group.create_task(self._leases.run())

    async def take(self, entries: Sequence[Entry]) -> None:
        """Begin on hinted actions that are ready; returns when each has a slot: no more is read than can run."""
        found: list[Attempt] = []

        async def look() -> None:
            found[:] = await storage.ready_attempts(self._database.pool, [entry.action_id for entry in entries])

        await patiently(look, waiting=lambda error: log.warning("hints_wait", error=type(error).__name__))
        ready = {attempt.action_id: attempt for attempt in found}
        for entry in entries:
            attempt = ready.pop(entry.action_id, None)
            if attempt is None:
                self._acknowledging.post(entry)
                continue
            await self._slot(entry)
            task = asyncio.create_task(self._attempt(attempt, entry))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _slot(self, entry: Entry) -> None:
        """Take a slot. While something urgent waits for one, nobody goes on to a following step in its own."""
        urgent = entry.stream == URGENT
        self._urgent += urgent
        try:
            await self._slots.acquire()
        finally:
            self._urgent -= urgent

    async def drain(self, seconds: float) -> None:
        """Let what runs finish, for at most `seconds`; then stop it, as its lease's end would."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _attempt(self, attempt: Attempt, entry: Entry) -> None:
        """Carry an attempt through, and in the same slot what was claimed with its settlement."""
        try:
            with _span(attempt, entry):
                begun = await self._claimed(attempt, entry)
                following = await self._carried(begun, IN_A_ROW) if begun else None
            for more in reversed(range(IN_A_ROW)):
                if following is None:
                    break
                with _span(following.attempt, entry):
                    following = await self._carried(following, more)
        except Exception:  # noqa: BLE001 — one attempt must not end the worker
            # A bug, or an answer that the database never gave: the action is ready still, or its lease runs out.
            log.exception("attempt_broken", action_id=attempt.action_id)
        finally:
            self._slots.release()

    async def _claimed(self, attempt: Attempt, entry: Entry) -> Begun | None:
        refusal = await self._refusal(attempt)
        running, before = await self._claiming.submit(Asked(attempt, refusal))
        self._acknowledging.post(entry)
        metrics.CLAIMS.labels("running" if running else "turned away").inc()
        return Begun(running, before) if running else None

    async def _carried(self, begun: Begun, more: int) -> Begun | None:
        """Act and settle; returns what was claimed with that, which may be as many steps as `more`."""
        lease = self._leases.begin(begun.attempt, begun.before)
        try:
            return await self._through(begun.attempt, lease, more)
        finally:
            self._leases.end(begun.attempt)

    async def _through(self, running: Attempt, lease: Lease, more: int) -> Begun | None:
        with metrics.RUNNING.track_inprogress():
            result = await self._act(running, lease)
        if result.error_code == "lease_lost" and running.effect != Effect.UNSAFE:
            return None  # the sweeper makes it ready again, with the same key
        going_on = more > 0 and not self._draining and not self._urgent
        settlement = settlement_of(running, await self._with_object(running, result), going_on=going_on)
        metrics.STEPS.labels(running.action, settlement.ending).inc()
        following = await self._settling.submit(settlement)
        if following is not None:
            metrics.CLAIMS.labels("running").inc()
        return following

    async def _with_object(self, attempt: Attempt, result: ActionResult) -> ActionResult:
        """Outputs that were cut, and what a command printed, are kept whole as an object that the step's fact names.

        Outputs that were cut name it too. Where it cannot be kept they are what was left of them: the action took
        effect all the same.
        """
        if result.whole is None:
            return result
        try:
            kept = await self._means.objects.keep(attempt.tenant_id, "output", result.whole)
        except StoreUnavailable as error:
            log.error("outputs_not_kept", action_id=attempt.action_id, error=error.detail)
            return replace(result, whole=None)
        evidence = {**result.evidence, "objects": [*result.evidence.get("objects", ()), kept]}
        named = {"object": {"sha256": kept["sha256"], "length": kept["len"]}} if result.cut else {}
        return replace(result, whole=None, evidence=evidence, outputs={**result.outputs, **named})

    async def _refusal(self, attempt: Attempt) -> tuple[str, str] | None:
        """What the target's tags say against a change, read from the target right before the claim."""
        if not attempt.mutating or attempt.tags_url is None:
            return None
        check = await check_tags(self._means.egress, attempt.tags_url)
        return None if check.allowed else (check.code, check.message)

    async def _act(self, attempt: Attempt, lease: Lease) -> ActionResult:
        crash_point("before_effect")
        try:
            action = self._means.registry.get(attempt.action)
        except UnknownAction as error:
            return ActionResult.failed(error.code, str(error), effect_possible=False)
        context = ActionContext(
            idem_key=attempt.idem_key,
            fence=attempt.fence,
            execution_id=attempt.execution_id,
            step_path=attempt.path,
            attempt=attempt.attempt,
            effect=Effect(attempt.effect),
            deadline=time.monotonic() + attempt.timeout_seconds,
            egress=self._means.egress,
            tenant_id=attempt.tenant_id,
            incident_id=attempt.incident_id or None,
            traceparent=telemetry.traceparent() or None,
            lease=lease,
            shell=self._means.shell,
            channels=self._means.channels,
        )
        with metrics.STEP_SECONDS.labels(attempt.action).time(), telemetry.span(f"effect {attempt.action}"):
            result = await invoke(action, orjson.loads(attempt.rendered)["with"], context)
        crash_point("after_effect")
        return result

    async def _claim(self, asked: Sequence[Asked]) -> list[tuple[Attempt | None, float]]:
        before = time.monotonic()
        running, hints = await self._claims.claim(asked)
        await self._hints.send(hints)
        # An action that was hinted twice stands in the batch twice: one of its askers carries it out.
        return [(running.pop(item.attempt.action_id, None), before) for item in asked]

    async def _settle(self, settlements: Sequence[Settlement]) -> list[Begun | None]:
        before = time.monotonic()
        hints, following = await self._settlements.settle(settlements)
        await self._hints.send(hints)
        found = (following.get(settlement.attempt.action_id) for settlement in settlements)
        return [Begun(attempt, before) if attempt else None for attempt in found]

    async def _acknowledge(self, entries: Sequence[Entry]) -> list[None]:
        for stream in {entry.stream for entry in entries}:
            await self._hints.done(stream, [entry.entry_id for entry in entries if entry.stream == stream])
        return [None] * len(entries)


def _span(attempt: Attempt, entry: Entry) -> AbstractContextManager[object]:
    attributes = {
        "ranger.execution_id": attempt.execution_id,
        "ranger.incident_id": attempt.incident_id,
        "ranger.step": attempt.path,
        "messaging.system": "redis",
        "messaging.destination.name": entry.stream,
    }
    return telemetry.span(
        f"step {attempt.action}",
        parent=attempt.traceparent,
        kind=SpanKind.CONSUMER,
        links=[entry.traceparent],
        attributes=attributes,
    )
