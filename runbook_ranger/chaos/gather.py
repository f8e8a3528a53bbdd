"""Gathers the evidence of a run: databases, streams, log, ledger, history. Judges nothing."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import nats.errors
import orjson
from nats.js import JetStreamContext

from libs.common.contracts.choreography import EVENTS, INGRESS
from libs.common.contracts.choreography import consumers as wanted_consumers
from libs.common.streams import EPOCH_KEY
from libs.tlog.verify import StoredEntry, StoredState
from runbook_ranger.chaos import changes, history
from runbook_ranger.chaos.changes import SCHEMAS
from runbook_ranger.chaos.evidence import Evidence, Injury, Ledger, Log, Look, Message, Row
from runbook_ranger.chaos.place import Place
from runbook_ranger.demo.journal import Journal
from runbook_ranger.stack.plan import Urls
from runbook_ranger.stack.provision.hints import GROUP, hint_streams

TABLES: Final = (
    "incident.incident", "incident.alert", "executor.execution", "executor.action_log", "executor.spec",
    "executor.timer", "approvals.timer",
    *(f"{schema}.dead_letter" for schema in SCHEMAS),
    *(f"{schema}.command" for schema in SCHEMAS),
)  # fmt: skip
LEFT_OUT: Final[Mapping[str, str]] = {
    "command": "response,body_sha256", "dead_letter": "payload,headers", "action_log": "rendered",
    "execution": "frame",
}  # fmt: skip
FETCH: Final = 500


async def gather(
    place: Place,
    *,
    calls: Path,
    looks: Sequence[Look] = (),
    injuries: Sequence[Injury] = (),
    unsettled: Sequence[str] = (),
) -> Evidence:
    """Everything that the invariants look at; the stack must be quiet, or at least not be asked anything any more."""
    connection = await asyncpg.connect(place.urls.postgres)
    try:
        rows = {table: await _table(connection, table) for table in TABLES}
        noted = await changes.read(connection)
        log = await _log(connection)
    finally:
        await connection.close()
    return Evidence(
        history=history.read(calls),
        ledger=_ledger(place.root / "target" / "target.jsonl"),
        changes=noted,
        rows=rows,
        messages=await _messages(place.urls),
        consumers=wanted_consumers(),
        log=log,
        injuries=injuries,
        looks=looks,
        unsettled=unsettled,
        gathered_at=time.time(),
    )


async def _table(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> list[Row]:
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return []
    without = LEFT_OUT.get(table.partition(".")[2], "")
    found = await connection.fetch(f"SELECT to_jsonb(t) - $1::text[] AS row FROM {table} t", without.split(","))
    return [orjson.loads(item["row"]) for item in found]


def _ledger(path: Path) -> Ledger:
    journal = Journal(path)
    journal.close()
    kinds: dict[str, list[dict[str, Any]]] = {"call": [], "effect": [], "replay": [], "refused": []}
    for record in journal.records:
        kinds.get(record["kind"], []).append(record)
    return Ledger(kinds["call"], kinds["effect"], kinds["replay"], kinds["refused"])


async def _log(connection: "asyncpg.Connection[asyncpg.Record]") -> Log:
    state = await connection.fetchrow("SELECT * FROM timeline.log_state")
    if state is None:
        return Log()
    leaves = await connection.fetch(
        "SELECT l.index, l.leaf, l.event_hash, p.payload, p.salt, p.event_id, p.traceparent, p.execution_id"
        " FROM timeline.leaf l"
        " LEFT JOIN timeline.payload p USING (index) ORDER BY l.index"
    )
    heads = await connection.fetch("SELECT kind, id, n, event_hash FROM timeline.chain_head")
    from libs.tlog.chain import Head

    return Log(
        [StoredEntry(r["index"], r["leaf"], r["event_hash"], r["payload"], r["salt"]) for r in leaves],
        StoredState(state["origin"], state["size"], state["root"], state["stream"], state["epoch"], state["seq"]),
        {(r["kind"], r["id"]): Head(r["n"], r["event_hash"]) for r in heads},
        {r["event_id"]: r["traceparent"] for r in leaves if r["event_id"]},
        {r["event_id"]: r["execution_id"] for r in leaves if r["execution_id"]},
    )


async def _messages(urls: Urls) -> list[Message]:
    client = await urls.bus(allow_reconnect=False)
    try:
        stream = client.jetstream()
        return [message for name in (INGRESS, EVENTS) for message in await _stream(stream, name)]
    finally:
        await client.close()


async def _stream(manager: JetStreamContext, name: str) -> list[Message]:
    info = await manager.stream_info(name)
    epoch = int((info.config.metadata or {}).get(EPOCH_KEY, "1"))
    found: list[Message] = []
    if not info.state.messages:
        return found
    reader = await manager.subscribe("", stream=name, ordered_consumer=True)
    try:
        while not found or found[-1].seq < info.state.last_seq:
            message = await reader.next_msg(timeout=10)
            seq = message.metadata.sequence.stream
            found.append(Message(name, epoch, seq, message.subject, dict(message.headers or {}), message.data))
    finally:
        await reader.unsubscribe()
    return found


# ── whether it is quiet ──────────────────────────────────────────────────────────────────────────────────────────────

_UNPUBLISHED: Final = "SELECT count(*) FROM {schema}.outbox WHERE published_at IS NULL"
_BUSY: Final = """
SELECT path || ' of ' || execution_id || ' is ' || state || coalesce(' held by ' || held_reason, '')
FROM executor.action_log WHERE state IN ('running', 'ready')
"""


async def unsettled(place: Place) -> list[str]:
    """What is left to do: unpublished facts, actions under way or ready, hints, consumers and a log that are behind."""
    try:
        stored, seq = await _stored(place.urls.postgres)
        return stored + _hints(place) + await _behind(place.urls, seq)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error) as error:
        return [f"a server does not answer: {type(error).__name__}: {error}"]


async def _stored(url: str) -> tuple[list[str], int | None]:
    """What Postgres says is left to do, and how far the log has come."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        left = {schema: await connection.fetchval(_UNPUBLISHED.format(schema=schema)) for schema in SCHEMAS}
        found = [f"{schema}: {count} unpublished facts" for schema, count in left.items() if count]
        found += [row[0] for row in await connection.fetch(_BUSY)]
        return found, await connection.fetchval("SELECT seq FROM timeline.log_state")
    finally:
        await connection.close()


def _hints(place: Place) -> list[str]:
    found = []
    script = "return redis.call('XPENDING', KEYS[1], ARGV[1])[1]"
    for stream in hint_streams():
        answer = place.redis("EVAL", script, "1", stream, GROUP)
        if not answer.isdecimal():
            found.append(f"{stream}: {answer}")
        elif count := int(answer):
            found.append(f"{stream}: {count} hints that were read and not acknowledged")
    return found


async def _behind(urls: Urls, seq: int | None) -> list[str]:
    client = await urls.bus(allow_reconnect=False, connect_timeout=3)
    try:
        found = []
        manager = client.jetstream()
        for stream, durable in wanted_consumers():
            info = await manager.consumer_info(stream, durable)
            if info.num_pending or info.num_ack_pending:
                found.append(
                    f"consumer {stream}/{durable}: {info.num_pending} to come, {info.num_ack_pending} unacknowledged"
                )
        last = (await manager.stream_info(EVENTS)).state.last_seq
    finally:
        await client.close()
    return found if seq == last else [*found, f"the log is at sequence {seq} of {last}"]


def keep(evidence: Evidence, path: Path) -> None:
    """Store changes and rows beside the history, to be looked at."""
    with path.open("w") as file:
        for change in evidence.changes:
            file.write(json.dumps([change.number, change.at, change.table, change.old, change.new]) + "\n")
