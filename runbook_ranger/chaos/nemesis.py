"""Carries out a schedule of faults on real processes and servers, and keeps what it really did."""

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

import asyncpg
import nats.errors
import orjson

from libs.common.ids import new_id
from runbook_ranger.chaos.evidence import Injury
from runbook_ranger.chaos.load import Load
from runbook_ranger.chaos.place import SERVERS, SUPERVISOR, Place
from runbook_ranger.chaos.points import POINTS, WORKER, Stimulus
from runbook_ranger.chaos.schedule import Fault, Schedule
from runbook_ranger.chaos.waiting import until
from runbook_ranger.demo.journal import Journal

CROWD: Final = 15
VICTIMS_OF_TERMINATE: Final = 3
RETRY_SECONDS: Final = 0.3
CRASH_ATTEMPTS: Final = 4
CRASH_PATIENCE: Final = 10.0
HEAL_SECONDS: Final = 30.0
POISON_PATIENCE: Final = 30.0
TERMINATE: Final = """
SELECT count(pg_terminate_backend(pid)) FROM (
  SELECT pid FROM pg_stat_activity WHERE usename LIKE 'rr\\_%' ORDER BY random() LIMIT $1) AS found
"""


class Nemesis:
    """One run's faults. What could not be done (nobody ran under that name) is kept as such, with no victim."""

    def __init__(self, place: Place, load: Load, tell: Callable[[str], None]) -> None:
        self._place = place
        self._load = load
        self._tell = tell
        self._journal = Journal(place.root / "faults.jsonl")
        self._background: set[asyncio.Task[None]] = set()
        self.injuries: list[Injury] = []
        self._kinds: Mapping[str, Callable[[Fault], Awaitable[Mapping[str, Any]]]] = {
            "kill": self._kill,
            "term": self._term,
            "crash": self._crash,
            "freeze": self._freeze,
            "freeze_server": self._freeze,
            "nats": self._kill,
            "postgres": self._kill,
            "valkey": self._kill,
            "supervisor": self._supervisor,
            "flush": self._flush,
            "terminate": self._terminate,
            "consumer": self._consumer,
            "poison": self._poison,
            "switch": self._switch,
            "erase": self._erase,
        }

    async def run(self, schedule: Schedule) -> None:
        """Every fault at its time, or as soon after it as the one before it is over.

        Where nobody came to a point in the turmoil, its crash is tried again once that is over.
        """
        began = time.monotonic()
        await asyncio.gather(self._in_turn(schedule.faults, began), self._in_turn(schedule.points, began))
        await asyncio.sleep(max(0.0, schedule.seconds - (time.monotonic() - began)))
        crashed = {injury.detail["point"] for injury in self.injuries if injury.kind == "crash" and injury.met}
        await self._in_turn([fault for fault in schedule.points if fault.point not in crashed], began)

    async def _in_turn(self, faults: Sequence[Fault], began: float) -> None:
        for fault in faults:
            await asyncio.sleep(max(0.0, fault.at - (time.monotonic() - began)))
            await self.inflict(fault)

    async def inflict(self, fault: Fault) -> None:
        """One fault, to its end."""
        began = time.time()
        lasting = f" for {fault.seconds} s" if fault.seconds else ""
        self._tell(f"{fault.at:7.1f} s  {fault.kind} {fault.victim}{lasting}{f' at {fault.point}' * bool(fault.point)}")
        try:
            detail = await self._kinds[fault.kind](fault)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error, TimeoutError) as error:
            detail = {"missed": f"{type(error).__name__}: {error}"}
        injury = Injury(fault.kind, fault.victim, began, time.time(), detail)
        self.injuries.append(injury)
        self._journal.append(asdict(injury))

    async def heal(self) -> None:
        """Let everything run that stands still, and the kill switch go; returns when every process is ready.

        Raises:
            TimeoutError: one does not become ready.
        """
        for name in (*SERVERS, *self._place.processes_wanted, SUPERVISOR):
            self._place.send(name, signal.SIGCONT)
        if self._place.pid(SUPERVISOR) is None:
            await self._place.up()
        await self._place.until_ready()
        await until(self._let_go, HEAL_SECONDS, RETRY_SECONDS)

    def close(self) -> None:
        """Let go of the list of faults."""
        self._journal.close()

    async def _let_go(self) -> bool:
        return (await self._load.switch(engaged=False)).outcome == "ok"

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _kill(self, fault: Fault) -> Mapping[str, Any]:
        return {"pid": self._place.send(fault.victim, signal.SIGKILL)}

    async def _term(self, fault: Fault) -> Mapping[str, Any]:
        return {"pid": self._place.send(fault.victim, signal.SIGTERM)}

    async def _crash(self, fault: Fault) -> Mapping[str, Any]:
        """Order it, bring the process there, and wait for its end; an order that nobody came to obey is withdrawn."""
        point = next(p for p in POINTS if (p.name, p.process) == (fault.point, fault.victim))
        order = self._place.order(fault.victim)
        self._place.crash(fault.victim, fault.point)
        for _ in range(CRASH_ATTEMPTS):
            if point.stimulus is Stimulus.LOST:
                self._place.crash(WORKER, "after_claim")
            self._load.stimulate(point.stimulus)
            with suppress(TimeoutError):
                await until(lambda: not order.exists(), CRASH_PATIENCE)
                return {"point": fault.point}
        order.unlink(missing_ok=True)
        return {"point": fault.point, "missed": "nobody came there"}

    async def _freeze(self, fault: Fault) -> Mapping[str, Any]:
        pid = self._place.send(fault.victim, signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        if pid is not None and pid == self._place.pid(fault.victim):
            self._place.send(fault.victim, signal.SIGCONT)
        return {"pid": pid}

    async def _supervisor(self, _fault: Fault) -> Mapping[str, Any]:
        pid = self._place.send(SUPERVISOR, signal.SIGKILL)
        if pid is not None:
            await self._place.until_gone(pid)
            await self._place.up()
        return {"pid": pid}

    # ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _flush(self, _fault: Fault) -> Mapping[str, Any]:
        return {"answer": self._place.redis("FLUSHALL")}

    async def _terminate(self, _fault: Fault) -> Mapping[str, Any]:
        connection = await asyncpg.connect(self._place.urls.postgres, timeout=3)
        try:
            return {"backends": await connection.fetchval(TERMINATE, VICTIMS_OF_TERMINATE)}
        finally:
            await connection.close()

    async def _consumer(self, fault: Fault) -> Mapping[str, Any]:
        stream, _, durable = fault.victim.partition("/")
        client = await self._place.urls.bus(allow_reconnect=False, connect_timeout=3)
        try:
            return {"deleted": await client.jetstream().delete_consumer(stream, durable)}
        finally:
            await client.close()

    async def _erase(self, fault: Fault) -> Mapping[str, Any]:
        """End the bus as kill -9 does, with all that it had stored."""
        await asyncio.to_thread(shutil.rmtree, self._place.layout.store(fault.victim) / "store", ignore_errors=True)
        return await self._kill(fault)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _poison(self, fault: Fault) -> Mapping[str, Any]:
        """What cannot be applied; repeated until the stream has it, with the same id, so that it is there once."""
        subject, data, headers = poison(fault.victim)
        deadline = time.monotonic() + POISON_PATIENCE
        while True:
            try:
                client = await self._place.urls.bus(allow_reconnect=False, connect_timeout=2)
                try:
                    stored = await client.jetstream().publish(subject, data, headers=headers, timeout=2)
                finally:
                    await client.close()
            except (nats.errors.Error, OSError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return {"stream": stored.stream, "seq": stored.seq, "subject": subject}

    async def _switch(self, fault: Fault) -> Mapping[str, Any]:
        """The kill switch, thrown into a crowd."""
        self._load.burst(CROWD)
        on = await self._load.switch(engaged=True)
        await asyncio.sleep(fault.seconds)
        off = await self._load.switch(engaged=False)
        return {"on": on.outcome, "off": off.outcome}


def poison(kind: str) -> tuple[str, bytes, dict[str, str]]:
    """Subject, body and headers of a message that no consumer can apply."""
    marker = new_id()
    headers = {"Nats-Msg-Id": marker}
    match kind:
        case "json":
            return "alert.event", b'{"name": "' + marker.encode(), headers
        case "schema":
            return "alert.event", orjson.dumps({"name": marker, "severity": "purple"}), headers
        case _:
            return "incident.created", orjson.dumps({"poison": marker}), headers
