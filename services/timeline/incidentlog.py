"""What the log holds of one incident below a checkpoint, as a bundle needs it: whole, or not at all.

Whoever asks must see every event of the incident. The log's own order of events is asked for that (`entry_place`, which
no right narrows): a chain with a hole in it proves nothing.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from msgspec import Struct

from libs.common.contracts.marking import MAX_CLEARANCE, Marking
from libs.common.database import Tx
from libs.common.errors import Denied, NotFound, TooLarge, Unavailable
from libs.common.policy import Scope
from libs.common.sight import filters, seen
from libs.tlog.bundle import Bundled
from libs.tlog.hashing import event_hash
from libs.tlog.heads import ChainKey, Head
from services.timeline import checkpoints
from services.timeline.checkpoints import Made
from services.timeline.proving import broken

LOOK_SECONDS: Final = 0.1
_WHOLE: Final = f"""
SELECT (SELECT count(*) FROM entry_place WHERE incident_id = $1 AND index < $5) AS held, count(*) AS seen,
  max(index) AS last, max(clearance) AS clearance, coalesce(sum(octet_length(payload)), 0)::bigint AS bytes,
  array_agg(DISTINCT environment) FILTER (WHERE environment <> '') AS environments
FROM (SELECT * FROM entry_seen WHERE incident_id = $1 AND tenant_id = $2 AND {seen("$3", "$4")} AND index < $5) AS entry
LEFT JOIN (SELECT index, payload FROM payload) AS stored USING (index)
"""
_ENTRIES: Final = f"""
SELECT index, l.leaf, p.payload, p.salt, entry.execution_id, entry.type
FROM (SELECT * FROM entry_seen WHERE incident_id = $1 AND tenant_id = $2 AND {seen("$3", "$4")} AND index < $5) AS entry
JOIN leaf AS l USING (index) LEFT JOIN payload AS p USING (index) ORDER BY index
"""
_LAST: Final = "SELECT max(index) FROM entry_place WHERE incident_id = $1"
_REDACTIONS: Final = """
SELECT (control.body ->> 'of')::bigint AS of, control.index, leaf.leaf
FROM control LEFT JOIN leaf ON leaf.index = control.index
WHERE control.body ->> 'type' = 'redaction' AND control.body ->> 'of' = ANY($1::text[])
ORDER BY control.id
"""
_EXECUTIONS: Final = """
SELECT execution_id, count(*) AS held FROM entry_place WHERE execution_id = ANY($1::text[]) AND index < $2 GROUP BY 1
"""


class Asked(Struct, frozen=True):
    """Whose log, for whom: `scope` is what they may view. `most` is how many bytes of payloads there may be."""

    incident_id: str
    tenant: str
    scope: Scope
    most: int


class Held(Struct, frozen=True):
    """All that the log has of an incident under a checkpoint.

    `entries` are its events and the redactions that name them, `heads` the chains that they hold completely, `marking`
    what one must be allowed to view to view all of it, `specs` the runbooks that its executions were planned with.
    """

    made: Made
    entries: Sequence[Bundled]
    heads: Mapping[ChainKey, Head]
    marking: Marking
    specs: Sequence[str]

    @property
    def last(self) -> int:
        """The index of its newest event."""
        return max(entry.index for entry in self.entries if orjson.loads(entry.leaf)["kind"] == "event")


class _Uncovered(Exception):
    """A leaf that belongs to it stands in no checkpoint yet."""


async def held(tx: Tx, asked: Asked, *, seconds: float) -> Held:
    """The incident's part of the log, once a checkpoint covers all that was there at first; waits so many seconds.

    A checkpoint that a witness has signed is preferred to a newer one.

    Raises:
        NotFound, Denied, TooLarge: it is not `readable`.
        Unavailable: no checkpoint came, or the database contradicts itself.
    """
    last = await tx.fetchval(_LAST, asked.incident_id)
    for turns in reversed(range(max(1, round(seconds / LOOK_SECONDS)))):
        for made in (await checkpoints.newest_cosigned(tx), await checkpoints.newest(tx)):
            if made is not None and made.size > last:
                with contextlib.suppress(_Uncovered):
                    return await _below(tx, asked, await checkpoints.with_cosignatures(tx, made))
        if turns:
            await asyncio.sleep(LOOK_SECONDS)
    raise Unavailable(
        f"The log has no checkpoint over all that it holds of incident {asked.incident_id} yet.",
        fix="Ask again in a moment; `GET /timeline/state` says why nothing is signed, where nothing is.",
        code="no_checkpoint",
    )


async def readable(tx: Tx, asked: Asked, size: int = 2**62) -> Marking:
    """What the incident's events below a size bear, all of which may be viewed.

    Raises:
        NotFound: there is no event of it that may be viewed.
        Denied: there are others.
        TooLarge: its payloads are longer than a bundle may be.
    """
    row = await tx.fetchrow(_WHOLE, asked.incident_id, asked.tenant, *filters(asked.scope), size)
    assert row is not None
    if not row["seen"]:
        raise NotFound(f"The log has nothing of incident {asked.incident_id}.", fix="Ask again in a moment.")
    if row["seen"] != row["held"]:
        raise Denied(
            "You may not view every event of this incident, and a bundle holds all of them.",
            fix="Ask somebody whose environments and clearance cover it.",
            code="bundle_not_whole",
        )
    if row["bytes"] > asked.most:
        raise TooLarge(
            f"The payloads of this incident are {row['bytes']} bytes, a bundle holds {asked.most}.",
            fix="RR_BUNDLE_BYTES of the timeline; docs/operators.md.",
            code="bundle_too_large",
        )
    environments = row["environments"] or [""]
    # a fact bears one environment: what spans several is for those who may view anything
    return Marking(environments[-1], row["clearance"] if len(environments) == 1 else MAX_CLEARANCE)


async def _below(tx: Tx, asked: Asked, made: Made) -> Held:
    marking = await readable(tx, asked, made.size)
    rows = await tx.fetch(_ENTRIES, asked.incident_id, asked.tenant, *filters(asked.scope), made.size)
    events = [Bundled(row["index"], row["leaf"], row["payload"], row["salt"]) for row in rows]
    redactions = await _redactions(tx, [entry.index for entry in events if entry.payload is None], made.size)
    found = _heads(events)
    inside = Counter(row["execution_id"] for row in rows if row["execution_id"])
    elsewhere = await tx.fetch(_EXECUTIONS, list(inside), made.size) if inside else []
    whole = {("execution", row["execution_id"]) for row in elsewhere if row["held"] == inside[row["execution_id"]]}
    whole.add(("incident", asked.incident_id))
    heads = {key: head for key, head in found.items() if key in whole}
    planned = {_spec(row["payload"]) for row in rows if row["type"] == "runbook.planned" and row["payload"]}
    return Held(made, [*events, *redactions], heads, marking, sorted(planned - {""}))


async def _redactions(tx: Tx, bare: Sequence[int], size: int) -> list[Bundled]:
    """The first leaf that says so of each event whose payload is gone. Read after the events: it was asked for first.

    Raises:
        _Uncovered: one stands in no checkpoint of this size.
        Unavailable: a payload is gone of which nobody said that it was redacted.
    """
    if not bare:
        return []
    found: dict[int, Any] = {}
    for row in await tx.fetch(_REDACTIONS, [str(index) for index in bare]):
        found.setdefault(row["of"], row)
    missing = sorted(set(bare) - found.keys())
    if missing:
        raise broken(ValueError(f"the payload of leaf {missing[0]} is gone, and no redaction says so"))
    if any(row["index"] is None or row["index"] >= size for row in found.values()):
        raise _Uncovered
    return [Bundled(row["index"], row["leaf"]) for row in found.values()]


def _heads(events: Iterable[Bundled]) -> dict[ChainKey, Head]:
    """Where each chain ends among events that are in order."""
    heads: dict[ChainKey, Head] = {}
    for entry in events:
        ends = event_hash(entry.leaf)
        heads |= {(link["k"], link["id"]): Head(int(link["n"]), ends) for link in orjson.loads(entry.leaf)["chains"]}
    return heads


def _spec(payload: bytes) -> str:
    """The runbook's hash in the payload of a plan; empty where there is none."""
    try:
        named = str(orjson.loads(payload)["spec_hash"])
        return named if len(bytes.fromhex(named)) == 32 and named == named.lower() else ""
    except (ValueError, KeyError, TypeError):
        return ""
