"""The load: cases come in, and people do what people do — grant, refuse, revoke, decide, complete, abort, free locks.

What is to be done is read from the database, aside from the product; everything that changes something goes through
its API and into the history.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import httpx

from runbook_ranger.chaos.client import Caller, Publisher
from runbook_ranger.chaos.history import Call, History
from runbook_ranger.chaos.ledger import took_effect
from runbook_ranger.chaos.place import Place
from runbook_ranger.chaos.points import Stimulus
from runbook_ranger.chaos.work import CROWD, GUARDED, KEYED, QUEUED, SEPARATE, TIMED, WEIGHTS, Case, runbook

LOOK_SECONDS: Final = 0.3
RESOURCES: Final = 8
EFFECT_MS: Final = (5, 40, 150, 400, 1200)
BY_BUS: Final = 0.3
TOLD_AGAIN: Final = 0.2
ABORTED: Final = 0.03
BY_HAND: Final = 0.1
REPEAT_SECONDS: Final = 5.0
SETTLED_BEFORE_BREAK: Final = "5 seconds"
EXECUTIONS: Final = f"""
SELECT execution_id::text AS execution, state, phase, blocked_reason, alert->'labels'->>'case' AS case_name,
  (SELECT path FROM executor.step_run s WHERE s.execution_id = e.execution_id AND s.state = 'unknown' LIMIT 1) AS doubt,
  (SELECT idem_key FROM executor.action_log a WHERE a.execution_id = e.execution_id AND a.state = 'unknown' LIMIT 1)
    AS doubted_key,
  frame->'step_runs'->-1->>'path' AS last_step,
  (SELECT l.resource_id FROM executor.resource_lock l WHERE l.execution_id = e.execution_id AND l.state = 'suspect'
    AND e.ended_at < clock_timestamp() - interval '{SETTLED_BEFORE_BREAK}' LIMIT 1) AS stuck
FROM executor.execution e WHERE ended_at IS NULL OR EXISTS (
  SELECT 1 FROM executor.resource_lock l WHERE l.execution_id = e.execution_id)
"""
APPROVALS: Final = (
    "SELECT approval_id::text AS approval, plan_hash, action_hash FROM approvals.approval WHERE state = 'requested'"
)
HEARD: Final = "SELECT fingerprint FROM incident.alert WHERE fingerprint = ANY($1::text[])"
FIRING: Final = """
SELECT a.fingerprint FROM incident.alert a JOIN executor.execution e ON e.alert->'labels'->>'case' = a.fingerprint
WHERE a.status = 'firing' AND (e.ended_at IS NOT NULL OR e.phase = 'verify')
"""
UNPLANNED: Final = "SELECT count(*) FROM incident.alert WHERE status = 'firing'"
STIMULI: Final = 2
AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
Row = asyncpg.Record
_STIMULATING: Final = {
    Stimulus.GUARDED: GUARDED,
    Stimulus.REVOKED: GUARDED,
    Stimulus.SILENT: GUARDED,
    Stimulus.TIMED: TIMED,
    Stimulus.QUEUED: QUEUED,
}
SILENT, REFUSED, REVOKED = 0.1, 0.2, 0.3  # of a question's fates, from nought to one: the rest is granted
_FATES: Final = {Stimulus.GUARDED: 1.0, Stimulus.REVOKED: REVOKED - 0.01, Stimulus.SILENT: 0.0}


class Load:
    """Asks for work until told to stop, and tends what was asked for until all of it has ended."""

    def __init__(self, place: Place, history: History, seed: int, *, rate: float) -> None:
        self.operator = Caller(place.gateway, place.operator_token, history)
        self.approver = Caller(place.gateway, place.approver_token, history)
        self._bus = Publisher(place.urls, history)
        self._place = place
        self._dice = random.Random(seed)  # noqa: S311 — a run is to be repeatable, not secret
        self._rate = rate
        self._cases: dict[str, Case] = {}
        self._unheard: dict[str, float] = {}
        self._under_way: dict[tuple[str, ...], asyncio.Task[Call]] = {}
        self._done: set[tuple[str, ...]] = set()
        self._fates: deque[float] = deque()
        self._connection: asyncpg.Connection[Row] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def prepare(self) -> None:
        """Publish the runbooks."""
        for kind in WEIGHTS:
            await self.operator.publish(runbook(kind))

    async def close(self) -> None:
        """Let go of everything."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        for part in (self.operator, self.approver, self._bus):
            await part.close()
        if self._connection is not None:
            self._connection.terminate()

    # ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────

    async def arrive(self) -> None:
        """Cases, one after the other at the rate wanted, until cancelled."""
        while True:
            kind = self._dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            self.begin(kind)
            await asyncio.sleep(self._dice.expovariate(self._rate))

    def begin(self, kind: str, *, resource: str = "", ms: int | None = None) -> Case:
        """One case, about a resource and of a length that are drawn unless they are named; its report is under way."""
        drawn = f"chaos/{self._dice.randrange(RESOURCES)}", self._dice.choice(EFFECT_MS)
        case = Case(kind, resource or drawn[0], drawn[1] if ms is None else ms, self._place.target_url)
        if kind in SEPARATE:
            case = Case(kind, f"crowd/{case.name}", case.ms, case.target, case.name)
        self._cases[case.name] = case
        self._unheard[case.name] = time.monotonic()
        if kind == KEYED and self._dice.random() < BY_HAND:
            del self._unheard[case.name]
            self._do(("start", case.name), lambda: self._start(case))
        else:
            self._do(("fire", case.name), lambda: self._report(case, "firing"))
            if self._dice.random() < TOLD_AGAIN:
                self._do(("again", case.name), lambda: self._report(case, "firing"))
        return case

    def burst(self, count: int) -> None:
        """A crowd at once."""
        for _ in range(count):
            self.begin(CROWD)

    def stimulate(self, how: Stimulus) -> None:
        """Ask for work that brings processes to a crash point."""
        kind = _STIMULATING.get(how, KEYED)
        if how in _FATES:
            self._fates.append(_FATES[how])
        for _ in range(STIMULI):
            self.begin(kind)

    def grant_next(self) -> None:
        """The next question is answered with yes."""
        self._fates.append(_FATES[Stimulus.GUARDED])

    def done(self) -> Mapping[str, int]:
        """How many things of each sort have been done."""
        return Counter(what[0] for what in self._done if what not in self._under_way)

    async def switch(self, *, engaged: bool) -> Call:
        """Set the kill switch."""
        reason = f"Drill {self._dice.getrandbits(64):016x}"
        body = {"engaged": engaged, "reason": reason}
        return await self.operator.command("switch", "/kill-switch", body, engaged=engaged, reason=reason)

    async def _start(self, case: Case) -> Call:
        body = {"inputs": case.inputs()}
        return await self.operator.command("start", f"/runbooks/chaos-{case.kind}/execute", body, case=case.name)

    async def _report(self, case: Case, status: str) -> Call:
        event, about = case.event(status), {"fingerprint": case.name, "status": status}
        if self._dice.random() < BY_BUS:
            return await self._bus.alert(event, **about)
        return await self.operator.post("alert", "/webhooks/events", event, **about)

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────

    async def tend(self) -> None:
        """Look and act until cancelled; a database that does not answer is looked at again."""
        while True:
            with suppress(*AWAY, httpx.HTTPError):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def finished(self) -> bool:
        """Whether every report was folded and every execution has ended."""
        with suppress(*AWAY):
            live, firing = await self._rows(EXECUTIONS), await self._rows(UNPLANNED)
            self._forget_done()
            return not live and not firing[0][0] and not self._under_way
        return False

    async def _look(self) -> None:
        self._forget_done()
        for row in await self._rows(EXECUTIONS):
            self._tend(row)
        for row in await self._rows(APPROVALS):
            self._answer(row)
        await self._repeat()
        for row in await self._rows(FIRING):
            case = self._cases.get(row["fingerprint"])
            if case is not None:
                self._do(("resolve", case.name), lambda case=case: self._report(case, "resolved"), repeat=True)  # type: ignore[misc]

    async def _repeat(self) -> None:
        """Report again what nobody has heard of for a while, as monitoring does."""
        for row in await self._rows(HEARD, list(self._unheard)):
            self._unheard.pop(row["fingerprint"], None)
        now = time.monotonic()
        for name, told in list(self._unheard.items()):
            if now - told > REPEAT_SECONDS:
                self._unheard[name] = now
                self._do(("repeat", name, str(now)), lambda case=self._cases[name]: self._report(case, "firing"))  # type: ignore[misc]

    def _tend(self, row: Row) -> None:
        execution = row["execution"]
        if row["stuck"]:
            body = {"resource_id": row["stuck"], "rationale": "Its execution has ended and nothing of it runs."}
            self._do(
                ("break", execution),
                lambda: self.operator.command("break_lock", "/locks/break", body, execution_id=execution),
                repeat=True,
            )
        elif row["doubt"]:
            self._do(
                ("decide", execution), lambda: self._decide(execution, row["doubt"], row["doubted_key"]), repeat=True
            )
        elif row["blocked_reason"] == "choice":
            body = {"choice": "retry", "rationale": "What stood in its way is gone."}
            path = f"/executions/{execution}/steps/{row['last_step']}/choose"
            self._do(
                ("choose", execution),
                lambda: self.operator.command("choose", path, body, execution_id=execution),
                repeat=True,
            )
        elif row["blocked_reason"] == "person":
            body = {"outcome": "succeeded", "evidence_ref": "seen"}
            path = f"/executions/{execution}/steps/hand/complete"
            self._do(
                ("complete", execution),
                lambda: self.operator.command("complete", path, body, execution_id=execution),
                repeat=True,
            )
        elif row["state"] == "running" and ("fate", execution) not in self._done:
            self._done.add(("fate", execution))
            if self._dice.random() < ABORTED:
                body = {"rationale": "It is not wanted any more."}
                path = f"/executions/{execution}/abort"
                self._do(
                    ("abort", execution), lambda: self.operator.command("abort", path, body, execution_id=execution)
                )

    async def _decide(self, execution: str, step: str, key: str | None) -> Call:
        """Say what the target's ledger shows, once nothing of it goes on there any more."""
        async with httpx.AsyncClient(base_url=self._place.target_url, trust_env=False, timeout=5) as target:
            took = await took_effect(target, key)
        decision = "succeeded" if took else "failed"
        body = {"decision": decision, "rationale": "The target's ledger shows it."}
        path = f"/executions/{execution}/steps/{step}/decide"
        return await self.approver.command("decide", path, body, execution_id=execution, decision=decision)

    def _answer(self, row: Row) -> None:
        approval = row["approval"]
        if ("fate", approval) in self._done:
            return
        self._done.add(("fate", approval))
        fate = self._fates.popleft() if self._fates else self._dice.random()
        if fate < SILENT:
            return
        if fate < REFUSED:
            body = {"rationale": "Not now."}
            path = f"/approvals/{approval}/reject"
            self._do(("reject", approval), lambda: self.approver.command("reject", path, body, approval_id=approval))
        else:
            self._do(("grant", approval), lambda: self._grant(row, revoked=fate < REVOKED))

    async def _grant(self, row: Row, *, revoked: bool) -> Call:
        approval = row["approval"]
        body = {"rationale": "Do it.", "plan_hash": row["plan_hash"], "action_hash": row["action_hash"]}
        call = await self.approver.command("grant", f"/approvals/{approval}/grant", body, approval_id=approval)
        if not revoked:
            return call
        body = {"rationale": "On second thoughts."}
        return await self.approver.command("revoke", f"/approvals/{approval}/revoke", body, approval_id=approval)

    # ── how it is done ───────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, what: tuple[str, ...], how: Callable[[], Awaitable[Call]], *, repeat: bool = False) -> None:
        """Do a thing beside everything else, once; with `repeat` again after it did not succeed."""
        if what in self._under_way or what in self._done:
            return
        if not repeat:
            self._done.add(what)
        self._under_way[what] = asyncio.ensure_future(how())

    def _forget_done(self) -> None:
        for what, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[what]
                if task.exception() is None and task.result().outcome == "ok":
                    self._done.add(what)

    async def _rows(self, query: str, *arguments: Any) -> Sequence[Row]:
        async with self._one_at_a_time:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._place.urls.postgres, timeout=3)
            try:
                found: list[Any] = await self._connection.fetch(query, *arguments, timeout=5)
            except AWAY:
                self._connection.terminate()  # what was cut off in the middle is not used again
                raise
        return found
