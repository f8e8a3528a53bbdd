"""The log in Postgres: one function appends, the others read.

An append is one statement: compare-and-set of the state, and with it leaves, payloads, entries, heads and the indexes
of control leaves. Either all of a batch is in the log or nothing of it, and of two writers only the one whose size and
term still hold gets through.
It says `rr.entries = own`, so that the trigger which makes the entries of an older version's writer has nothing to do.

One statement rather than COPY: measured side by side, COPY is no faster for 500 leaves and takes twice the CPU for one,
since it asks for the columns' types each time.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson
from msgspec import Struct

from libs.common import telemetry
from libs.common.database import Database, Tx
from libs.common.telemetry import is_traceparent
from libs.tlog.chain import Batch, ChainKey, Entry, EventKey, First, Head, Message, Missing, Unreadable
from libs.tlog.errors import TlogError
from libs.tlog.hashing import SALT_BYTES
from libs.tlog.shape import EVENT
from libs.tlog.tree import Frontier
from services.timeline.errors import Frozen, TermLost
from services.timeline.model import Arrival, LogState
from services.timeline.words import vector

_SCHEMA_NAME: Final = re.compile(r"[ -~]{0,200}")

_ONE_LEAF_AN_EVENT: Final = "uq_leaf_event"

_BEGIN_TERM: Final = """
INSERT INTO log_state AS state (id, origin, term, size, frontier, root, stream, epoch, seq)
VALUES (1, $1, 1, 0, '', $2, $3, $4, 0)
ON CONFLICT (id) DO UPDATE SET term = state.term + 1
RETURNING origin, term, size, frontier, root, stream, epoch, seq
"""
_BREAK: Final = "\x1f"
_APPEND: Final = """
WITH advanced AS (
  UPDATE log_state SET size = $3, frontier = $4, root = $5, epoch = $6, seq = $7 WHERE size = $1 AND term = $2
  RETURNING set_config('rr.entries', 'own', true)),
leaves AS (
  INSERT INTO leaf (index, kind, leaf, event_hash, stream, epoch, seq, source, event_id)
  SELECT i, k, convert_to(l, 'UTF8'), substr($11::bytea, (32 * o - 31)::int, 32), s, e, q, c, d
  FROM advanced, unnest({numbers[8]}, {texts[9]}, {texts[10]}, {names[12]}, {numbers[13]}, {numbers[14]}, {names[15]},
    {names[16]}) WITH ORDINALITY AS added(i, k, l, s, e, q, c, d, o)),
told AS MATERIALIZED (
  SELECT i, e, b, substr($20::bytea, (32 * z - 31)::int, 32) AS s, y, t::timestamptz AS t, a, n, c, x, r,
    coalesce(d, '') AS d, coalesce(p, '') AS p, coalesce(v, '') AS v, l::smallint AS l, o, coalesce(w, '') AS w
  FROM advanced, unnest({numbers[17]}, {texts[18]}, $19::bytea[], {texts[21]}, {texts[22]}, {texts[23]}, {texts[24]},
    {names[25]}, {names[26]}, {names[27]}, {texts[28]}, {texts[29]}, {texts[30]}, {numbers[31]}, {texts[32]},
    {texts[33]}) WITH ORDINALITY AS added(i, e, b, y, t, a, n, c, x, r, d, p, v, l, o, w, z)),
payloads AS (
  INSERT INTO payload (index, event_id, payload, salt, type, time, actor, tenant_id, incident_id, execution_id,
    runbook_id, dataschema, traceparent, environment, clearance)
  SELECT i, e, b, s, y, t, a, n, c, x, r, d, p, v, l FROM told WHERE b IS NOT NULL),
entries AS (
  INSERT INTO entry (index, event_id, stored_at, time, type, actor, tenant_id, incident_id, execution_id, runbook_id,
    environment, clearance, dataschema, traceparent, words)
  SELECT i, e, o::timestamptz, t, y, a, n, c, x, r, v, l, d, p, w::tsvector FROM told),
heads AS (
  INSERT INTO chain_head AS head (kind, id, n, event_hash)
  SELECT k, i, n, substr($37::bytea, (32 * o - 31)::int, 32)
  FROM advanced, unnest({texts[34]}, {texts[35]}, {numbers[36]}) WITH ORDINALITY AS moved(k, i, n, o)
  ON CONFLICT (kind, id) DO UPDATE SET n = excluded.n, event_hash = excluded.event_hash),
artefacts AS (
  INSERT INTO artefact (sha256, index, kind, length, type, time, tenant_id, incident_id, execution_id, environment,
    clearance)
  SELECT decode(sha256, 'hex'), index, kind, length, type, time, tenant_id, incident_id, execution_id, environment,
    clearance
  FROM advanced, jsonb_to_recordset($38::jsonb) AS added(sha256 text, index bigint, kind text, length bigint,
    type text, time timestamptz, tenant_id text, incident_id text, execution_id text, environment text,
    clearance smallint)),
controls AS (
  UPDATE control SET index = said.index FROM advanced, unnest($39::bigint[], $40::bigint[]) AS said(id, index)
  WHERE control.id = said.id)
SELECT count(*) FROM advanced
""".format(
    texts=[f"string_to_array(${number}::text, E'\\x1f')" for number in range(39)],
    names=[f"string_to_array(${number}::text, E'\\x1f', '')" for number in range(39)],
    numbers=[f"string_to_array(${number}::text, E'\\x1f', '')::bigint[]" for number in range(39)],
)
_LEAF, _PAYLOAD, _HEAD = "ntthtnntt", "ntahttttttttttntt", "ttnh"
_HEADS: Final = """
SELECT kind, id, n, event_hash FROM chain_head
JOIN unnest($1::text[], $2::text[]) AS wanted(kind, id) USING (kind, id)
"""
_FIRSTS: Final = """
SELECT index, leaf, source, event_id FROM leaf WHERE kind = 'event' AND event_id = ANY($1::text[])
"""
_STATE: Final = "SELECT origin, term, size, frontier, root, stream, epoch, seq FROM log_state"


class SeenBefore(Exception):
    """The log has an event of this batch already; nothing was written."""


async def begin_term(database: Database, *, origin: str, stream: str, epoch: int) -> LogState:
    """Take the log over: the state under a term that no other writer has. The first one makes the log.

    Raises:
        Frozen: the log in the database has another origin, or its row contradicts itself.
    """
    async with database.transaction("timeline begin term") as tx:
        return await begin_in(tx, origin=origin, stream=stream, epoch=epoch)


async def begin_in(tx: Tx, *, origin: str, stream: str, epoch: int) -> LogState:
    """As `begin_term`, with the caller's transaction."""
    row = await tx.fetchrow(_BEGIN_TERM, origin, Frontier().root(), stream, epoch)
    state = state_of(row)
    if (state.origin, state.stream) != (origin, stream):
        raise Frozen(f"the database holds the log {state.origin} of {state.stream}, not {origin} of {stream}")
    return state


async def read_state(tx: Tx) -> LogState | None:
    """The state as committed; None before the first writer."""
    row = await tx.fetchrow(_STATE)
    return None if row is None else state_of(row)


def state_of(row: Any) -> LogState:
    """The state that a row holds.

    Raises:
        Frozen: frontier and root do not belong together.
    """
    try:
        tree = Frontier.from_bytes(row["size"], row["frontier"])
    except TlogError as error:
        raise Frozen(f"log_state contradicts itself: {error}") from None
    if tree.root() != row["root"]:
        raise Frozen("log_state contradicts itself: its frontier does not give its root")
    return LogState(row["origin"], row["term"], row["stream"], row["epoch"], row["seq"], tree)


class Append(Struct, frozen=True):
    """What one statement appends, and the state that it leaves; `after` is the old one and the batch, nothing else."""

    before: LogState
    after: LogState
    arguments: tuple[Any, ...]


def appending(old: LogState, batch: Batch, arrivals: Sequence[Arrival]) -> Append:
    """A batch after `old`, ready to be written."""
    new = old.after(batch)
    pairs = list(zip(batch.entries, arrivals, strict=True))
    events = [(entry, arrival) for entry, arrival in pairs if entry.kind == EVENT]
    payloads = [_payload_row(entry, arrival) for entry, arrival in events]
    artefacts = [row for entry, arrival in events for row in _artefact_rows(entry, arrival)]
    arguments = (
        *(old.tree.size, old.term, new.tree.size, new.tree.to_bytes(), new.tree.root(), new.epoch, new.seq),
        *_columns([_leaf_row(entry) for entry in batch.entries], _LEAF),
        *_columns(payloads, _PAYLOAD),
        *_columns([(*key, head.n, head.event_hash) for key, head in batch.heads.items()], _HEAD),
        orjson.dumps(artefacts).decode(),
        [arrival.control for arrival in arrivals if arrival.control is not None],
        [entry.index for entry, arrival in pairs if arrival.control is not None],
    )
    return Append(old, new, arguments)


async def append(tx: Any, said: Append) -> LogState:
    """Append a batch, all or nothing, and return the new state. The only way into `leaf` and `payload`.

    `tx` is a transaction of the caller's, or a pool.

    Raises:
        TermLost: another writer appended or took over since the old state was read; nothing was written.
        SeenBefore: the batch has an event leaf for an event that has one.
    """
    before, after = said.before, said.after
    with telemetry.span("db timeline append", attributes={"rr.leaves": after.tree.size - before.tree.size}):
        try:
            advanced = await tx.fetchval(_APPEND, *said.arguments)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != _ONE_LEAF_AN_EVENT:
                raise
            raise SeenBefore from error
    if not advanced:
        raise TermLost(f"size {before.tree.size} of term {before.term} is no longer the end of the log")
    return after


async def heads_of(database: Database, keys: Iterable[ChainKey]) -> dict[ChainKey, Head]:
    """The heads of those of the chains that exist."""
    wanted = list(keys)
    if not wanted:
        return {}
    rows = await database.pool.fetch(_HEADS, [kind for kind, _ in wanted], [chain_id for _, chain_id in wanted])
    return {(row["kind"], row["id"]): Head(row["n"], row["event_hash"]) for row in rows}


async def firsts_of(database: Database, event_ids: Iterable[str]) -> dict[EventKey, First]:
    """The event leaves that hold these ids, by source and id."""
    wanted = list(event_ids)
    if not wanted:
        return {}
    rows = await database.pool.fetch(_FIRSTS, wanted)
    return {(row["source"], row["event_id"]): First(row["index"], row["leaf"]) for row in rows}


async def leaf_at(database: Database, stream: str, epoch: int, seq: int) -> bytes | None:
    """The leaf whose sequence, or whose gap's last one, is this."""
    found: bytes | None = await database.pool.fetchval(
        "SELECT leaf FROM leaf WHERE stream = $1 AND epoch = $2 AND seq = $3", stream, epoch, seq
    )
    return found


def _leaf_row(entry: Entry) -> tuple[Any, ...]:
    common = (entry.index, entry.kind, entry.leaf.decode(), entry.event_hash)
    match entry.item:
        case Message(src=src, event=event):
            named = entry.kind != "reject"
            names = (event.source, event.id) if named else (None, None)
            return (*common, src.stream, src.epoch, src.seq, *names)
        case Unreadable(src=src):
            return (*common, src.stream, src.epoch, src.seq, None, None)
        case Missing() as gap:
            return (*common, gap.stream, gap.epoch, gap.last, None, None)
        case _:
            return (*common, None, None, None, None, None)


def _payload_row(entry: Entry, arrival: Arrival) -> tuple[Any, ...]:
    message, envelope = entry.item, arrival.envelope
    if not isinstance(message, Message) or envelope is None:
        raise TypeError("an event comes from a message with an envelope")
    event = message.event
    trace = envelope.traceparent if is_traceparent(envelope.traceparent) else ""
    schema = envelope.schema if _SCHEMA_NAME.fullmatch(envelope.schema) else ""
    return (
        entry.index,
        event.id,
        None if arrival.bare else message.payload,
        bytes(SALT_BYTES) if arrival.bare else message.salt,
        event.type,
        event.time,
        event.actor,
        event.tenant,
        event.incident_id,
        event.execution_id,
        event.runbook_id,
        schema,
        trace,
        envelope.marking.environment,
        envelope.marking.clearance,
        f"{message.src.ts[:26]}Z",
        "" if arrival.bare else vector(message.payload),
    )


def _artefact_rows(entry: Entry, arrival: Arrival) -> list[dict[str, Any]]:
    """What an event names in the object store."""
    message, envelope = entry.item, arrival.envelope
    if not isinstance(message, Message) or envelope is None or not message.event.refs:
        return []
    event = message.event
    about = {
        "index": entry.index,
        "type": event.type,
        "time": event.time,
        "tenant_id": event.tenant,
        "incident_id": event.incident_id or None,
        "execution_id": event.execution_id or None,
        "environment": envelope.marking.environment,
        "clearance": envelope.marking.clearance,
    }
    return [{**about, "sha256": ref.sha256, "kind": ref.k, "length": ref.len} for ref in sorted(set(event.refs))]


def _columns(rows: Sequence[tuple[Any, ...]], kinds: str) -> list[Any]:
    """Rows as columns, each as one value where it can be: the driver looks at an array's items ten times as long.

    `t` texts and `n` numbers go as a text, whose parts are divided by what no text of a leaf holds; an absent one is
    empty. `h` hashes and salts go one behind the other; `a` is an array.
    """
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    return [_SPELLING[kind](column) for kind, column in zip(kinds, columns, strict=True)]


_SPELLING: Final[Mapping[str, Callable[[Iterable[Any]], Any]]] = {
    "t": lambda texts: _BREAK.join([text or "" for text in texts]),
    "n": lambda numbers: _BREAK.join(["" if number is None else str(number) for number in numbers]),
    "h": b"".join,
    "a": list,
}
