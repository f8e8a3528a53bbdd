"""Artefacts: what facts name by SHA-256 in `Rr-Refs`, kept in the object store under tenant and kind.

    artefacts/<kind>/<tenant>/<sha256>

A tenant's artefacts are its own, even where another's hold the same bytes: what one deletes stays the other's, and
nobody learns from a hash what somebody else has. A hash is no right either: artefacts are read through the gateway,
which asks policy about an event that names them, or by a signed URL that it has given out.

A service whose transaction must not wait for the store (a person decides an approval while storage is what is broken)
leaves the bytes beside its outbox, in the transaction of the fact that names them; `ArtefactRelay` takes them to the
store, as often as that takes.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from libs.common import metrics
from libs.common.contracts.envelope import Ref
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.objectstore import ObjectStore, StoreUnavailable
from libs.common.pulse import Pulse
from libs.common.telemetry import log

KINDS: Final = ("approval", "bundle", "evidence", "output", "spec")
ROOT: Final = "artefacts"
POLL_SECONDS: Final = 1.0
MOST_SECONDS: Final = 30.0
AT_ONCE: Final = 16

_ADD: Final = """
INSERT INTO artefact_waiting (tenant_id, kind, sha256, data) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
_WAITING: Final = "SELECT tenant_id, kind, sha256, data FROM artefact_waiting ORDER BY added_at LIMIT $1"
_ANY: Final = "EXISTS (SELECT FROM artefact_waiting)"
_GONE: Final = "DELETE FROM artefact_waiting WHERE tenant_id = $1 AND kind = $2 AND sha256 = $3"


def key_of(tenant: str, kind: str, sha256: str) -> str:
    """Where an artefact is kept."""
    return f"{ROOT}/{kind}/{tenant}/{sha256}"


def ref_of(kind: str, data: bytes) -> Ref:
    """How facts name these bytes.

    Raises:
        ValueError: there is no such kind of artefact; a leaf would not take it.
    """
    if kind not in KINDS:
        raise ValueError(f"an artefact is one of {', '.join(KINDS)}, not {kind}")
    return Ref(kind, hashlib.sha256(data).hexdigest(), len(data))


def document(form: str, content: Mapping[str, Any]) -> bytes:
    """An artefact that is JSON: the same content is the same bytes. `form` says which, as `rr.approval/1`."""
    return orjson.dumps({"v": form, **content}, option=orjson.OPT_SORT_KEYS)


class Artefacts:
    """Keeps artefacts in a store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    async def keep(self, tenant: str, kind: str, data: bytes) -> Ref:
        """Write `data`, whole or not at all; returns its name for facts. Keeping it again makes it young again.

        Raises:
            StoreUnavailable: it may not have been written; keeping it again does no harm.
        """
        ref = ref_of(kind, data)
        await self.store.put(key_of(tenant, kind, ref.sha256), data, filename=f"{kind}-{ref.sha256}")
        return ref


async def leave(tx: Tx, tenant: str, kind: str, data: bytes) -> Ref:
    """Have `data` kept once this transaction is committed; returns its name for the facts of the transaction."""
    ref = ref_of(kind, data)
    await tx.execute(_ADD, tenant, kind, bytes.fromhex(ref.sha256), data)
    return ref


class ArtefactRelay:
    """Takes what transactions have left to the store. Several processes may: the same bytes have the same name."""

    def __init__(self, database: Database, artefacts: Artefacts, pulse: Pulse) -> None:
        self._database = database
        self._artefacts = artefacts
        self._pulse = pulse
        self._waiting = asyncio.Event()
        self._failed = 0

    async def run(self) -> None:
        """Take it there until cancelled; a store that does not answer is asked less often."""
        self._pulse.ask(_ANY, self._look, within=POLL_SECONDS)
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            while await self._round() == AT_ONCE:
                pass
            if self._failed:
                await asyncio.sleep(min(POLL_SECONDS * 2**self._failed, MOST_SECONDS))

    def _look(self, waiting: bool) -> None:
        if waiting:
            self._waiting.set()
        else:
            metrics.ARTEFACTS_WAITING.set(0)

    async def _round(self) -> int:
        try:
            moved = await self.take()
        except StoreUnavailable as error:
            self._failed = min(self._failed + 1, 5)
            log.warning("artefacts_wait", error=error.detail)
        except TRANSIENT as error:
            log.warning("artefacts_wait", error=f"{type(error).__name__}: {error}")
        else:
            self._failed = 0
            return moved
        return 0

    async def take(self) -> int:
        """Take a group of the oldest to the store; returns how many.

        Raises:
            StoreUnavailable: the rest waits.
        """
        rows = await self._database.pool.fetch(_WAITING, AT_ONCE)
        metrics.ARTEFACTS_WAITING.set(len(rows))
        for row in rows:
            await self._artefacts.keep(row["tenant_id"], row["kind"], row["data"])
            await self._database.pool.execute(_GONE, row["tenant_id"], row["kind"], row["sha256"])
        return len(rows)
