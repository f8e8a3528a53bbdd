"""The relay: publishes a schema's outbox, and lets a row go once the log holds its fact.

Woken by NOTIFY with the pulse behind it. It selects what is unpublished, never by a cursor: the order of a sequence is
not the order of commits. A crash between publishing and marking costs a second publish of the same id and bytes.

While a stream is made anew, provisioning holds the relays' locks, raises the epoch and takes back what was published
(`runbook_ranger/stack/provision/refill.py`); so the epoch on record is the one that a window was published in.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson
from nats.aio.msg import Msg

from libs.common import metrics, wire
from libs.common.bus import WINDOW, Bus, Outgoing, PublishRefused, Stored
from libs.common.contracts.choreography import EVENTS
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.lost import take_back_lost
from libs.common.outbox import POSITION_SUBJECT, channel, listen
from libs.common.pulse import Pulse
from libs.common.telemetry import log

_LEAD: Final = "SELECT WHERE pg_try_advisory_xact_lock(hashtext('{channel}'))"
_LED: Final = "SELECT 1"
"""The command tag of `_LEAD` where the lock was free."""
_LAZILY: Final = "SET LOCAL synchronous_commit TO off"
_PENDING: Final = "EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"
FREE_SECONDS: Final = 0.5
"""How often chained rows go: each time costs the same, however many there are, and nobody waits for it."""

_TAKE: Final = """
SELECT id, aggregate_id, subject, payload, headers FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1
"""

_MARK: Final = """
UPDATE outbox SET published_at = clock_timestamp(), epoch = s.epoch, stream_seq = t.seq, attempts = attempts + 1
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS t(id, stream, seq) JOIN public.stream_epoch s USING (stream)
WHERE outbox.id = t.id
"""

_FREE: Final = "DELETE FROM outbox WHERE published_at IS NOT NULL AND epoch = $1 AND stream_seq <= $2"
_FREE_KNOWN: Final = f"{_FREE} AND id = ANY($3::bigint[]) RETURNING id"
_KNOWN: Final = 16 * WINDOW
"""Rows that a relay remembers until the log has them; more are found by looking."""

_FAIL: Final = """
UPDATE outbox SET attempts = attempts + 1, last_error = $2 WHERE id = ANY($1::bigint[])
"""


class Relay:
    """Publishes a schema's outbox, each aggregate in id order. Several processes may run one; a lock lets one work."""

    def __init__(self, database: Database, bus: Bus, pulse: Pulse, *, poll_seconds: float) -> None:
        self._database = database
        self._pulse = pulse
        self._bus = bus
        self._vouched = -1
        self._poll = poll_seconds
        self._wake = asyncio.Event()
        self._lead = _LEAD.format(channel=channel(database.schema))
        self._leads = True
        self._noted = b""
        self._again = False
        self._moved = asyncio.Event()
        self._unchained: dict[int, int] = {}

    async def run(self) -> None:
        """Publish until cancelled; server outages delay it and nothing else."""
        self._pulse.ask(_PENDING, self._look, within=self._poll)
        notes = await self._bus.subscribe(POSITION_SUBJECT, self._on_position)
        wire.deliver(self._bus.nc, notes, self._take_note)
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self._database, channel(self._database.schema), self._wake.set))
            group.create_task(self._publish_forever())
            group.create_task(self._free_forever())

    def _look(self, pending: bool) -> None:
        """Whether there is anything to publish, or a connection to vouch for."""
        metrics.OUTBOX_PENDING.set(int(pending))
        if pending or self._vouched != self._connection:
            self._wake.set()

    async def _publish_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self.publish_once() > WINDOW // 2:
                    pass
            except TRANSIENT as error:
                log.warning("relay_waits", schema=self._database.schema, error=f"{type(error).__name__}: {error}")
            if not self._leads:  # whoever has the lock is woken, too; this one looks after it from time to time
                await asyncio.sleep(self._poll)

    async def publish_once(self) -> int:
        """Publish one window in one transaction; returns how many rows are done (0 when another relay has the lock).

        That a row is marked need not survive a crash of the database: it would be published a second time, as after a
        crash before the mark. What the server lost and is taken back must survive it.
        """
        lead = f"{_LAZILY}; {self._lead}" if self._vouched == self._connection else self._lead
        async with self._database.begun("relay", lead) as (tx, tag):
            self._leads = tag == _LED
            if not self._leads:
                return 0
            if self._vouched != self._connection:
                await self._vouch(tx)
            rows = await tx.fetch(_TAKE, WINDOW)
            metrics.OUTBOX_PENDING.set(len(rows))
            if not rows:
                return 0
            crash_point("relay_before_publish")
            outcomes = await self._publish(rows)
            crash_point("relay_after_publish")
            await self._note_refusal(tx, outcomes)
            return await self._mark(tx, {n: found for n, found in outcomes.items() if isinstance(found, Stored)})

    @property
    def _connection(self) -> int:
        """How often the bus has been connected again: behind each time the server may have lost something."""
        reconnects: int = self._bus.nc.stats["reconnects"]
        return reconnects

    async def _vouch(self, tx: Tx) -> None:
        """Before anything is sent over a new connection, what the server lost is made to be sent again."""
        connection = self._connection
        lost = await take_back_lost(tx, self._bus, whole=False)
        if lost:
            metrics.RELAY_LOST.inc(lost)
            log.error("stream_lost_messages", schema=self._database.schema, count=lost, fix="they are published again")
        self._vouched = connection

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> dict[int, Stored | PublishRefused]:
        """What became of each row that was sent. No fact is sent before the one ahead of it in its aggregate is stored:
        a full stream may refuse a long message and take the short one behind it.
        """
        outcomes: dict[int, Stored | PublishRefused] = {}
        held: set[str] = set()
        for wave in _waves(rows):
            sent = [row for row in wave if row["aggregate_id"] not in held]
            answers = await self._bus.publish(
                [Outgoing(row["subject"], row["payload"], orjson.loads(row["headers"])) for row in sent]
            )
            outcomes |= {row["id"]: answer for row, answer in zip(sent, answers, strict=True)}
            held |= {row["aggregate_id"] for row in sent if not isinstance(outcomes[row["id"]], Stored)}
        return outcomes

    async def _note_refusal(self, tx: Tx, outcomes: Mapping[int, Stored | PublishRefused]) -> None:
        """The first of a window's refusals is kept with its row; the others have the same reason, or come again."""
        refused = [(number, found) for number, found in outcomes.items() if not isinstance(found, Stored)]
        if refused:
            number, error = refused[0]
            metrics.RELAY_ERRORS.inc(len(refused))
            log.warning("publish_refused", schema=self._database.schema, count=len(refused), error=str(error))
            await tx.execute(_FAIL, [number], str(error))

    async def _mark(self, tx: Tx, stored: Mapping[int, Stored]) -> int:
        """Mark what is stored; what is not is sent again.

        Copies of dead letters go at once: the timeline, which frees the rows of facts, does not chain them.
        """
        if stored:
            streams, seqs = zip(*((found.stream, found.seq) for found in stored.values()), strict=True)
            await tx.execute(_MARK, list(stored), streams, seqs)
            aside = [number for number, found in stored.items() if found.stream != EVENTS]
            if aside:
                await tx.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", aside)
            metrics.PUBLISHED.inc(len(stored))
            if len(self._unchained) < _KNOWN:
                self._unchained |= {number: found.seq for number, found in stored.items() if found.stream == EVENTS}
        return len(stored)

    def _take_note(self, message: Msg) -> bool:
        """Remember how far the log has come. It says the same again when it is idle."""
        self._again = self._again or self._noted in {b"", message.data}
        self._noted = message.data
        self._moved.set()
        return True

    async def _on_position(self, message: Msg) -> None:
        self._take_note(message)

    async def _free_forever(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            again, self._again = self._again, False
            try:
                await self._free(orjson.loads(self._noted), again=again)
            except TRANSIENT as error:
                log.warning("outbox_kept", schema=self._database.schema, error=type(error).__name__)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                log.warning("position_unread", schema=self._database.schema)
            await asyncio.sleep(FREE_SECONDS)

    async def _free(self, position: Mapping[str, Any], *, again: bool) -> None:
        """Rows up to there are safe in the log, once it is known that the stream holds them.

        The relay that published them knows them by id; whatever another has left behind goes when the log is idle:
        that looks through the whole outbox.
        """
        if self._vouched != self._connection:
            return
        passed = position["epoch"], position["seq"]
        known = [number for number, seq in self._unchained.items() if seq <= position["seq"]]
        freed = await self._database.pool.fetch(_FREE_KNOWN, *passed, known) if known else []
        for row in freed:
            self._unchained.pop(row["id"], None)
        if not self._unchained:
            self._unchained = {}  # an emptied dict is as large as it was
        if not freed and again:
            await self._database.pool.execute(_FREE, *passed)
            for number in known:  # what is there still is of another epoch
                self._unchained.pop(number, None)


def _waves(rows: Sequence[asyncpg.Record]) -> list[list[asyncpg.Record]]:
    """The first fact of each aggregate, then the second of each, and so on; ids ascend within a wave."""
    waves: list[list[asyncpg.Record]] = []
    depth: Counter[str] = Counter()
    for row in rows:
        place = depth[row["aggregate_id"]]
        depth[row["aggregate_id"]] += 1
        if place == len(waves):
            waves.append([])
        waves[place].append(row)
    return waves
