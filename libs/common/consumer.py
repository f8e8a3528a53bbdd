"""Consumes a stream in batches: inbox, effect, own facts and commit are one transaction; then acknowledge.

A duplicate is acknowledged and changes nothing. A message that cannot be read becomes a dead letter at once; one whose
handler fails is tried alone, with growing pauses, and becomes a dead letter after `max_failures` real errors, parking
only its aggregate. Errors of servers are not errors of messages: the batch waits for the server and is done again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from nats.aio.msg import Msg

from libs.common import deadletters, inbox, metrics
from libs.common.bus import Bus
from libs.common.cancelling import heed
from libs.common.contracts.envelope import MalformedEnvelope
from libs.common.contracts.fact import MalformedPayload
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.deadletters import Letter
from libs.common.errors import Refusal
from libs.common.ids import derived_id
from libs.common.outbox import channel
from libs.common.puller import BATCH_BYTES, Puller, sequence_of
from libs.common.received import Decoder, FactReceived, Handler, Received, StoredMessage, decode_fact, handled_span
from libs.common.streams import Epochs
from libs.common.telemetry import log

__all__ = ["Decoder", "EventConsumer", "FactReceived", "Handler", "Received", "decode_fact", "handled_span"]

T = TypeVar("T")
_PRUNE_SECONDS: Final = 3600.0


class NotReadingError(Exception):
    """The process has not begun to consume."""


class EventConsumer(Generic[T]):
    """One durable of one stream, applied by one handler."""

    def __init__(
        self,
        *,
        bus: Bus,
        database: Database,
        epochs: Epochs,
        stream: str,
        durable: str,
        decode: Decoder[T],
        handler: Handler[T],
        batch: int,
        max_failures: int,
        check_seconds: float,
        after_commit: Callable[[], Awaitable[None]] | None = None,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.name = f"{durable}:{stream}"
        self._puller = Puller(bus, stream=stream, durable=durable, batch=batch, batch_bytes=batch_bytes)
        self._bus = bus
        self._database = database
        self._epochs = epochs
        self._stream = stream
        self._decode = decode
        self._handler = handler
        self._max_failures = max_failures
        self._check_seconds = check_seconds
        self._after_commit = after_commit
        self._reading = False

    async def reading(self) -> None:
        """A health check: raises until the server has been asked for messages."""
        await asyncio.sleep(0)
        if not self._reading:
            raise NotReadingError(f"{self.name} is not read yet")

    async def run(self) -> None:
        """Consume until cancelled."""
        await self._puller.start()
        self._reading = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._puller.check(self._check_seconds))
                group.create_task(self._prune_forever())
                group.create_task(self._consume_forever())
        finally:
            await self._puller.stop()

    async def _consume_forever(self) -> None:
        while True:
            messages = await self._puller.next()
            epoch = await self._epochs.of(self._stream)
            await self.apply(messages, epoch)
            crash_point("consumer_before_ack")
            await self._puller.acknowledge(messages)
            del messages  # the next may be long in coming, and these keep the pages that they lie on
            heed()

    async def apply(self, messages: Sequence[Msg], epoch: int) -> None:
        """Apply a batch whatever it takes: together, or one by one where a message fails."""
        metrics.BATCH.labels(self.name).observe(len(messages))
        received, letters = self._read(messages, epoch)
        if await self._try(received, letters):
            return
        if not await self._try([], letters):
            raise RuntimeError(f"{self.name} cannot store its dead letters, so it acknowledges nothing")
        for message in received:
            await self._apply_alone(message)

    async def apply_letter(self, tx: Tx, letter: Any) -> None:
        """Apply a dead letter's message again, inside the caller's transaction.

        Raises:
            Exception: what the handler raises, or `Malformed…`.
        """
        stored = StoredMessage(letter)
        value = self._received(stored, letter["epoch"], letter["stream_seq"], time.time_ns())
        await self._handler(tx, [value])

    def _read(self, messages: Sequence[Msg], epoch: int) -> tuple[list[Received[T]], list[Letter]]:
        now = time.time_ns()
        received: list[Received[T]] = []
        letters: list[Letter] = []
        for message in messages:
            seq = sequence_of(message)
            try:
                received.append(self._received(message, epoch, seq, now))
            except (MalformedEnvelope, MalformedPayload, UnicodeError) as error:
                letters.append(self._letter(message, epoch, seq, f"malformed: {error}"))
        return received, letters

    def _received(self, message: Any, epoch: int, seq: int, now: int) -> Received[T]:
        value, event_id, aggregate_id, tenant, traceparent = self._decode(
            message, lambda: derived_id(self._stream, str(epoch), str(seq))
        )
        return Received(
            value=value,
            event_id=event_id,
            aggregate_id=aggregate_id,
            tenant=tenant,
            traceparent=traceparent,
            subject=message.subject,
            stream=self._stream,
            epoch=epoch,
            seq=seq,
            received_ns=now,
            headers=message.headers or {},
            data=message.data,
        )

    async def _try(self, received: Sequence[Received[T]], letters: Sequence[Letter]) -> bool:
        """One transaction for all of it; False when a message's own error undid it."""
        delay = 0.1
        while received or letters:
            try:
                await self._transact(received, letters)
            except TRANSIENT as error:
                log.warning("consumer_waits", consumer=self.name, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
                continue
            except Exception as error:  # noqa: BLE001 — whatever a handler raises is that message's error
                log.warning("batch_failed", consumer=self.name, size=len(received), error=_text(error))
                return False
            break
        if self._after_commit is not None:
            await self._after_commit()
        return True

    async def _transact(self, received: Sequence[Received[T]], letters: Sequence[Letter]) -> None:
        parent = next((m.traceparent for m in received if m.traceparent), "")
        async with self._database.transaction(f"consume {self.name}", parent=parent) as tx:
            marks = [(m.event_id, m.epoch, m.seq, m.aggregate_id) for m in received]
            marks += [(letter.event_id, letter.epoch, letter.stream_seq, "") for letter in letters]
            fresh, parked = await inbox.enter(tx, self.name, marks)
            new = _first_of_each(m for m in received if m.event_id in fresh)
            for letter in letters:
                await deadletters.set_aside(tx, letter, channel=channel(self._database.schema))
            for message in (m for m in new if m.aggregate_id in parked):
                letter = self._buried(message, "parked: an earlier fact of this aggregate is a dead letter")
                await deadletters.set_aside(tx, letter, channel=channel(self._database.schema))
            todo = [m for m in new if m.aggregate_id not in parked]
            if todo:
                await self._handler(tx, todo)
            crash_point("consumer_before_commit")
        metrics.CONSUMED.labels(self.name, "applied").inc(len(todo))
        metrics.CONSUMED.labels(self.name, "duplicate").inc(len(received) - len(new))
        crash_point("consumer_after_commit")

    async def _apply_alone(self, message: Received[T]) -> None:
        for attempt in range(1, self._max_failures + 1):
            if await self._try_counting(message):
                return
            await asyncio.sleep(min(0.02 * 2**attempt, 1.0))

    async def _try_counting(self, message: Received[T]) -> bool:
        """Whether the message is done with: applied, a duplicate, or dead."""
        try:
            await self._transact([message], [])
            await inbox.settle_failure(self._database.pool, self.name, message.event_id, "applied")
        except TRANSIENT:
            return await self._try([message], [])
        except Exception as error:  # noqa: BLE001 — as above
            count = await inbox.count_failure(self._database, self.name, message.event_id, _text(error))
            log.warning(
                "message_failed", consumer=self.name, event_id=message.event_id, error=_text(error), count=count
            )
            if count < self._max_failures and not isinstance(error, Refusal):
                return False
            await self._bury(message, f"handler: {_text(error)}")
        return True

    async def _bury(self, message: Received[T], reason: str) -> None:
        async with self._database.transaction(f"bury {self.name}", parent=message.traceparent) as tx:
            await inbox.enter(tx, self.name, [(message.event_id, message.epoch, message.seq, message.aggregate_id)])
            await deadletters.set_aside(tx, self._buried(message, reason), channel=channel(self._database.schema))
            await inbox.settle_failure(tx, self.name, message.event_id, "dead")

    def _buried(self, message: Received[T], reason: str) -> Letter:
        return Letter(
            consumer=self.name,
            event_id=message.event_id,
            tenant_id=message.tenant,
            subject=message.subject,
            aggregate_id=message.aggregate_id,
            headers=message.headers,
            payload=message.data,
            stream=self._stream,
            epoch=message.epoch,
            stream_seq=message.seq,
            reason=reason,
        )

    def _letter(self, message: Msg, epoch: int, seq: int, reason: str) -> Letter:
        headers = message.headers or {}
        return Letter(
            consumer=self.name,
            event_id=derived_id(self._stream, str(epoch), str(seq)),
            tenant_id=headers.get("ce-tenant") or headers.get("Rr-Tenant", ""),
            subject=message.subject,
            aggregate_id="",
            headers=headers,
            payload=message.data,
            stream=self._stream,
            epoch=epoch,
            stream_seq=seq,
            reason=reason,
        )

    async def _prune_forever(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_SECONDS)
            try:
                state = (await self._bus.js.stream_info(self._stream)).state
                epoch = await self._epochs.of(self._stream)
                await inbox.prune(self._database.pool, self.name, epoch=epoch, first_seq=state.first_seq)
            except TRANSIENT as error:
                log.warning("inbox_unpruned", consumer=self.name, error=type(error).__name__)


def _first_of_each(messages: Any) -> list[Any]:
    seen: dict[str, Any] = {}
    for message in messages:
        seen.setdefault(message.event_id, message)
    return list(seen.values())


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
