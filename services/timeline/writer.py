"""The single writer: takes the log over, checks that stream and log agree, then chains what the stream delivers.

An advisory lock decides who works; it is only for liveness. Whoever is paused and wakes up as a second writer meets
the compare-and-set of the append and gets nothing in.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import nats.errors
from nats.aio.msg import Msg

from libs.common.bus import Bus
from libs.common.cancelling import ended
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database
from libs.common.outbox import POSITION_SUBJECT
from libs.common.puller import Puller, sequence_of
from libs.common.pulse import Pulse
from libs.common.rounds import until_next
from libs.common.telemetry import log
from services.timeline import control, metrics, storage
from services.timeline.agreement import agree
from services.timeline.errors import Frozen, TermLost
from services.timeline.intake import arrivals, pending, received
from services.timeline.ledger import Ledger
from services.timeline.model import Arrival, Hole, Received
from services.timeline.publisher import Guard
from services.timeline.settings import TimelineSettings
from services.timeline.stream import EventStream

LOCK: Final = "timeline_writer"
RETRY_SECONDS: Final = 0.5


class Writer:
    """Runs in every timeline process; one of them works, the others stand by."""

    def __init__(
        self, database: Database, bus: Bus, stream: EventStream, settings: TimelineSettings, guard: Guard | None = None
    ) -> None:
        self._guard = guard
        self._database = database
        self._bus = bus
        self._stream = stream
        self._settings = settings
        self._reconnected = asyncio.Event()
        self._turn = asyncio.Lock()
        self.frozen: str | None = None
        self.active = False
        self.grown = asyncio.Event()
        self.looks = Pulse(database)
        self._to_say = asyncio.Event()
        self.looks.ask("NULL", lambda _: None, within=settings.timeline_lock_seconds / 4)  # keeps the lock's session
        control.watch(self.looks, self._to_say.set, settings)
        bus.on_reconnect(self._distrust)

    async def ready(self) -> None:
        """A health check: raises with the reason while the log is frozen."""
        if self.frozen is not None:
            raise Frozen(self.frozen)

    async def run(self) -> None:
        """Write, or stand by, until cancelled."""
        while True:
            try:
                await self._hold()
            except TermLost as lost:
                log.warning("timeline_term_lost", detail=str(lost))
            except Frozen as frozen:
                self._freeze(frozen.reason)
                await asyncio.sleep(self._settings.timeline_recheck_seconds)
            except (*TRANSIENT, nats.errors.Error) as error:
                log.warning("timeline_waits", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            except asyncpg.PostgresError as error:
                self._freeze(f"the database refused the log: {type(error).__name__}: {error}")
                await asyncio.sleep(self._settings.timeline_recheck_seconds)

    async def _hold(self) -> None:
        """Wait for the lock, then work until the lock's connection breaks or the stream has to be looked at anew."""
        lock = await self._database.dedicated()
        lost = asyncio.Event()
        try:
            lock.add_termination_listener(lambda _: lost.set())
            await self._locked(lock)
            await self._until(lock, lost)
        finally:
            self._step_down()
            lock.terminate()

    async def _locked(self, lock: "asyncpg.Connection[asyncpg.Record]") -> None:
        while True:
            if await lock.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", LOCK):
                return
            await asyncio.sleep(self._settings.timeline_standby_seconds)

    async def _keep(self, lock: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Hold the lock for as long as this process turns: the server ends the session of one that is silent."""
        silence = self._settings.timeline_lock_seconds
        with suppress(asyncpg.PostgresError, *TRANSIENT):
            await lock.execute(f"SET idle_session_timeout = {int(1000 * silence)}")
            await self.looks.run(lock)

    async def _until(self, lock: "asyncpg.Connection[asyncpg.Record]", lost: asyncio.Event) -> None:
        work = asyncio.create_task(self._work())
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in (lost, self._reconnected)]
        ends.append(asyncio.create_task(self._keep(lock)))
        try:
            await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            await ended({work, *ends})

    async def _work(self) -> None:
        self._reconnected.clear()
        ledger = await self._take_over()
        puller = Puller(
            self._bus,
            stream=self._stream.name,
            durable=self._stream.durable,
            batch=self._settings.timeline_batch,
            ahead=3 * self._settings.timeline_batch,
        )
        tasks: set[asyncio.Task[None]] = set()
        try:
            await puller.start()
            tasks = {
                asyncio.create_task(puller.check(self._settings.consumer_check_seconds)),
                asyncio.create_task(self._repeat_position(ledger)),
                asyncio.create_task(self._chain_forever(ledger, puller)),
                asyncio.create_task(self._chase(ledger)),
                asyncio.create_task(self._speak(ledger)),
            }
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                await ended(tasks)
            finally:
                await ledger.close()
                await puller.stop()
        for task in done:
            await task

    async def _take_over(self) -> Ledger:
        """The log under a term of our own, agreeing with the stream and caught up with what was delivered."""
        extent = await self._stream.extent()
        origin, stream = self._settings.timeline_origin, self._stream.name
        state = await storage.begin_term(self._database, origin=origin, stream=stream, epoch=extent.epoch)
        ledger = Ledger(self._database, state, self.grown.set)
        reset = await agree(self._database, self._stream, extent, state)
        if self._guard is not None:
            await self._guard.check()
        if reset is not None:
            await ledger.append([Arrival(reset)])
        await self.say(ledger)
        await self._fill(ledger, extent.delivered + 1, in_hand=False)
        self.frozen, self.active = None, True
        self.grown.set()
        metrics.FROZEN.set(0)
        metrics.WRITER.set(1)
        log.info("timeline_writes", term=ledger.state.term, size=ledger.state.tree.size, seq=ledger.state.seq)
        await self._note(ledger)
        return ledger

    async def _chain_forever(self, ledger: Ledger, puller: Puller) -> None:
        """One batch is chained while the one before it is written, and acknowledged when that is committed."""
        before: list[Msg] = []
        while True:
            if before and not puller.waiting:
                async with self._turn:
                    await ledger.settle()
                await self._done(ledger, puller, before)
                before = []
            messages = await puller.next()
            async with self._turn:
                await self._begin(ledger, [received(message) for message in messages])
            await self._done(ledger, puller, before)
            before, messages = messages, []  # the next may be long in coming

    async def _done(self, ledger: Ledger, puller: Puller, messages: Sequence[Msg]) -> None:
        """Acknowledge what is committed."""
        if messages:
            crash_point("timeline_before_ack")
            await self._note(ledger)
            await puller.acknowledge([max(messages, key=sequence_of)], last_only=True)
            metrics.LAG.set(pending(messages[-1]))

    async def _chase(self, ledger: Ledger) -> None:
        """Read what was delivered to a writer that died: by itself it would come again only after the ack wait."""
        seen = -1
        while True:
            await asyncio.sleep(until_next(self._settings.timeline_chase_seconds))
            if ledger.state.seq == seen:
                extent = await self._stream.extent()
                if extent.epoch != ledger.state.epoch or extent.last < ledger.state.seq:
                    return await self._distrust()
                async with self._turn:
                    await self._fill(ledger, extent.delivered + 1, in_hand=False)
            if ledger.state.seq != seen:
                seen = ledger.state.seq
                await self._note(ledger)

    async def _speak(self, ledger: Ledger) -> None:
        """Append what the log is to say of itself, and once an hour that it lives."""
        self._to_say.set()
        while True:
            await self._to_say.wait()
            self._to_say.clear()
            size = ledger.state.tree.size
            async with self._turn:
                if every := self._settings.timeline_heartbeat_seconds:
                    await control.beat(self._database, every)
                    crash_point("timeline_control_asked")
                await self.say(ledger)
            if ledger.state.tree.size != size:
                await self._note(ledger)

    async def say(self, ledger: Ledger) -> None:
        """Append what was asked for and is not in the log yet, in order."""
        while asked := await control.pending(self._database):
            await ledger.append(asked)

    async def take(self, ledger: Ledger, messages: Sequence[Received]) -> None:
        """Chain what is new among delivered messages; what they skip is read from the stream, and logged if absent."""
        await self._begin(ledger, messages)
        await ledger.settle()

    async def _begin(self, ledger: Ledger, messages: Sequence[Received]) -> None:
        """As `take`, but the last of it is only under way on return."""
        began = time.time_ns()
        run: list[Received] = []
        for message in sorted(messages, key=lambda one: one.seq):
            following = (run[-1].seq if run else ledger.ahead.seq) + 1
            if message.seq < following:
                continue
            if message.seq > following:
                await self._append(ledger, run, began)
                run = []
                await self._fill(ledger, message.seq, in_hand=True)
            run.append(message)
        if run:
            await ledger.begin(arrivals(run, ledger.ahead), began_ns=began)
        else:
            await ledger.settle()

    async def _fill(self, ledger: Ledger, before: int, *, in_hand: bool) -> None:
        """Chain everything after the cursor and before a sequence, from the stream itself.

        A hole at the end is logged only when the message behind it is `in_hand`: until one comes it may still grow,
        and the same hole in two leaves would make the log depend on when it was restarted.
        """
        while ledger.ahead.seq + 1 < before:
            found = await self._stream.read(ledger.ahead.seq + 1, before - 1)
            if not isinstance(found, Hole):
                await self._append(ledger, found, time.time_ns())
            elif in_hand or found.last < before - 1:
                await self._append(ledger, [Hole(found.first, min(found.last, before - 1))], time.time_ns())
            else:
                return

    async def _append(self, ledger: Ledger, run: Sequence[Received] | Sequence[Hole], began_ns: int) -> None:
        if run:
            await ledger.append(arrivals(run, ledger.ahead), began_ns=began_ns)

    async def _note(self, ledger: Ledger) -> None:
        """Tell outboxes and whoever shows the log how far it has come; a lost note is repeated by the next one."""
        state = ledger.state
        position = {"stream": state.stream, "epoch": state.epoch, "seq": state.seq, "size": state.tree.size}
        await self._bus.note(POSITION_SUBJECT, position)

    async def _repeat_position(self, ledger: Ledger) -> None:
        while True:
            await asyncio.sleep(until_next(self._settings.timeline_note_seconds))
            await self._note(ledger)

    def distrust(self) -> None:
        """Stream, store or database may be another one than the log knows: take over anew, with all checks."""
        self._reconnected.set()

    async def _distrust(self) -> None:
        self.distrust()

    def _freeze(self, reason: str) -> None:
        if self.frozen != reason:
            log.critical("timeline_frozen", reason=reason)
        self.frozen = reason
        metrics.FROZEN.set(1)

    def _step_down(self) -> None:
        self.active = False
        metrics.WRITER.set(0)
        metrics.SIGNING.set(0)
