"""One attempt from hint to settlement: read the target's tags, claim, act, settle.

What a crash leaves: before the claim's commit, a ready action; after it, a lease that runs out; after the settlement's
commit, ready actions without a hint. The sweeper finds each of them.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from opentelemetry.trace import SpanKind

from libs.actions import (
    ActionContext,
    ActionResult,
    Effect,
    Egress,
    Lease,
    Outcome,
    Registry,
    check_tags,
    invoke,
    outcome,
)
from libs.actions.errors import UnknownAction
from libs.actions.shell_policy import ShellPolicy
from libs.common import telemetry
from libs.common.crash import crash_point
from libs.common.database import Database, patiently
from libs.common.telemetry import log
from services.executor import metrics, storage
from services.executor.claims import Asked, Claims
from services.executor.hints import Hints
from services.executor.model import Attempt, Ending, Settlement
from services.executor.settings import ExecutorSettings
from services.executor.settlement import Settlements
from services.executor.worker.batcher import Batcher
from services.executor.worker.leases import Leases
from services.executor.worker.objects import Objects

GROUP: int = 64
_ENDINGS: dict[Outcome, Ending] = {
    Outcome.SUCCEEDED: "succeed",
    Outcome.FAILED: "fail",
    Outcome.CANCELLED: "fail",
    Outcome.UNKNOWN: "doubt",
}


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
            await self._slots.acquire()
            task = asyncio.create_task(self._attempt(attempt, entry))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Let what runs finish, for at most `seconds`; then stop it, as its lease's end would."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _attempt(self, attempt: Attempt, entry: Entry) -> None:
        attributes = {
            "ranger.execution_id": attempt.execution_id,
            "ranger.incident_id": attempt.incident_id,
            "ranger.step": attempt.path,
            "messaging.system": "redis",
            "messaging.destination.name": entry.stream,
        }
        try:
            with telemetry.span(
                f"step {attempt.action}",
                parent=attempt.traceparent,
                kind=SpanKind.CONSUMER,
                links=[entry.traceparent],
                attributes=attributes,
            ):
                await self._carry_through(attempt, entry)
        except Exception:  # noqa: BLE001 — one attempt must not end the worker
            # A bug, or an answer that the database never gave: the action is ready still, or its lease runs out.
            log.exception("attempt_broken", action_id=attempt.action_id)
        finally:
            self._slots.release()

    async def _carry_through(self, attempt: Attempt, entry: Entry) -> None:
        refusal = await self._refusal(attempt)
        running, before = await self._claiming.submit(Asked(attempt, refusal))
        self._acknowledging.post(entry)
        metrics.CLAIMS.labels("running" if running else "turned away").inc()
        if running is None:
            return
        lease = self._leases.begin(running, before)
        try:
            await self._through(running, lease)
        finally:
            self._leases.end(running)

    async def _through(self, running: Attempt, lease: Lease) -> None:
        with metrics.RUNNING.track_inprogress():
            result = await self._act(running, lease)
        if result.error_code == "lease_lost" and running.effect != Effect.UNSAFE:
            return  # the sweeper makes it ready again, with the same key
        settlement = _settlement(running, await self._with_object(result))
        metrics.STEPS.labels(running.action, settlement.ending).inc()
        await self._settling.submit(settlement)

    async def _with_object(self, result: ActionResult) -> ActionResult:
        """Outputs that were cut are kept whole, as an object that they name, and with them the step's fact.

        Where that fails they are what was left of them: the action took effect all the same.
        """
        if result.whole is None:
            return result
        try:
            kept = await self._means.objects.keep("outputs", result.whole)
        except OSError as error:
            log.error("outputs_not_kept", error=f"{type(error).__name__}: {error}")
            return replace(result, whole=None)
        evidence = {**result.evidence, "objects": [*result.evidence.get("objects", ()), kept]}
        named = {"sha256": kept["sha256"], "length": kept["len"]}
        return replace(result, whole=None, evidence=evidence, outputs={**result.outputs, "object": named})

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

    async def _settle(self, settlements: Sequence[Settlement]) -> list[None]:
        await self._hints.send(await self._settlements.settle(settlements))
        return [None] * len(settlements)

    async def _acknowledge(self, entries: Sequence[Entry]) -> list[None]:
        for stream in {entry.stream for entry in entries}:
            await self._hints.done(stream, [entry.entry_id for entry in entries if entry.stream == stream])
        return [None] * len(entries)


def _settlement(attempt: Attempt, result: ActionResult) -> Settlement:
    return Settlement(
        attempt=attempt,
        ending=_ENDINGS[outcome(result, Effect(attempt.effect))],
        outputs=result.outputs,
        evidence=result.evidence,
        error_code=result.error_code or "",
        message=result.message or "",
        retryable=result.retryable,
        traceparent=telemetry.traceparent(),
    )
