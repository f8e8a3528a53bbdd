"""The objects that an incident's events name, fetched for its bundle; each that is not in it, with the reason.

What the store holds is believed by its hash alone. A bundle takes objects in the order of the log, and leaves out what
is larger than one may be, what no longer fits in, and bundles: the second would hold the first, and the third both.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
from msgspec import Struct

from libs.common.artefacts import key_of
from libs.common.database import Tx
from libs.common.objectstore import ObjectStore
from libs.common.telemetry import log
from libs.tlog.bundle import Bundled
from services.timeline import metrics

AT_ONCE: Final = 8
BUNDLE: Final = "bundle"
_DELETED: Final = """
SELECT encode(sha256, 'hex') AS sha256, max(deleted_at) AS deleted_at FROM artefact
WHERE index = ANY($1::bigint[]) AND deleted_at IS NOT NULL GROUP BY 1
"""
GONE: Final = "the object store does not hold it"
SWAPPED: Final = "what the object store holds under this hash is something else"
UNSURE: Final = "events name it with different lengths"
EARLIER: Final = "a bundle of its own, which bundles do not repeat"


class Named(Struct, frozen=True):
    """An object as a leaf names it; `length` is None where leaves do not agree on it."""

    kind: str
    sha256: str
    length: int | None


class Limits(Struct, frozen=True):
    """In bytes: how large one object may be, and all that a bundle holds."""

    each: int
    whole: int


class Exhibits(Struct, frozen=True):
    """The objects' bytes, and why others are not among them, by their hashes."""

    present: Sequence[bytes]
    absent: Mapping[str, str]


async def deleted(tx: Tx, entries: Iterable[Bundled]) -> dict[str, str]:
    """Which of what these name was deleted, and when, by hash."""
    rows = await tx.fetch(_DELETED, [entry.index for entry in entries])
    return {row["sha256"]: f"deleted at {row['deleted_at']:%Y-%m-%dT%H:%M:%SZ}" for row in rows}


async def collect(
    store: ObjectStore, tenant: str, entries: Iterable[Bundled], limits: Limits, why: Mapping[str, str]
) -> Exhibits:
    """Fetch what the entries name. `why` says of some hashes why they may be missing.

    Raises:
        StoreUnavailable: it does not answer; nothing is said of any object.
    """
    wanted, absent = _chosen(named(entries), limits)
    turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(one: Named) -> bytes | str:
        async with turns:
            return await _fetched(store, tenant, one, why.get(one.sha256, GONE))

    found = await asyncio.gather(*map(fetch, wanted))
    reasons = {one.sha256: raw for one, raw in zip(wanted, found, strict=True) if isinstance(raw, str)}
    return Exhibits([raw for raw in found if isinstance(raw, bytes)], absent | reasons)


def named(entries: Iterable[Bundled]) -> list[Named]:
    """What the entries name, each hash once, in their order."""
    found: dict[str, Named] = {}
    for entry in sorted(entries, key=lambda item: item.index):
        refs: list[dict[str, Any]] = orjson.loads(entry.leaf).get("refs", [])
        for ref in refs:
            one = found.setdefault(ref["sha256"], Named(ref["k"], ref["sha256"], int(ref["len"])))
            if one.length != int(ref["len"]):
                found[one.sha256] = Named(one.kind, one.sha256, None)
    return list(found.values())


def _chosen(objects: Iterable[Named], limits: Limits) -> tuple[list[Named], dict[str, str]]:
    wanted, absent, left = list[Named](), dict[str, str](), limits.whole
    for one in objects:
        if one.kind == BUNDLE:
            absent[one.sha256] = EARLIER
        elif one.length is None:
            absent[one.sha256] = UNSURE
        elif one.length > limits.each:
            absent[one.sha256] = f"too large: {one.length} bytes, an object may have {limits.each}"
        elif one.length > left:
            absent[one.sha256] = f"too large: {one.length} bytes, the bundle had {left} left"
        else:
            wanted.append(one)
            left -= one.length
    return wanted, absent


async def _fetched(store: ObjectStore, tenant: str, one: Named, gone: str) -> bytes | str:
    """The object, or why there is none. What is longer than it should be is not even read."""
    key = key_of(tenant, one.kind, one.sha256)
    size = await store.size(key)
    raw = await store.get(key) if size == one.length else None
    if size is None or (size == one.length and raw is None):
        return gone
    if raw is None or sha256(raw).hexdigest() != one.sha256:
        metrics.ARTEFACTS_SWAPPED.inc()
        log.error("evidence_swapped", tenant=tenant, kind=one.kind, sha256=one.sha256)
        return SWAPPED
    return raw
