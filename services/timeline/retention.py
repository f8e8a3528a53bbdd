"""Retention: artefacts whose time is over are deleted, unless the log names them later or holds them.

It goes by the store's own list, so that what no event ever named goes too. An artefact is young while it was written,
or while any event that names it was told, within its days. A hold is what the log says last of an incident
(`access.evidence_held`, `access.evidence_released`), so nothing is deleted while the log does not hold all that the
stream does. What is deleted is said in the log of the process, artefact by artefact, and stays known by its hash.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import nats.errors
import nats.js.errors

from libs.common import rounds
from libs.common.artefacts import ROOT, key_of
from libs.common.database import Database, Tx
from libs.common.objectstore import ObjectStore, StoreUnavailable
from libs.common.telemetry import log
from services.timeline import metrics, storage
from services.timeline.stream import EventStream
from services.timeline.writer import Writer

GROUP: Final = 50
LOCK: Final = "timeline_retention"
_KEY: Final = re.compile(rf"{ROOT}/(?P<kind>[a-z]+)/(?P<tenant>[^/]+)/(?P<sha256>[0-9a-f]{{64}})")
_KEPT: Final = """
SELECT DISTINCT tenant_id, encode(sha256, 'hex') AS sha256 FROM artefact AS a
WHERE kind = $1 AND (sha256, tenant_id) IN (SELECT * FROM unnest($2::bytea[], $3::text[])) AND (time > $4 OR (
  SELECT type FROM entry AS e WHERE e.incident_id = a.incident_id AND e.tenant_id = a.tenant_id
  AND e.type IN ('access.evidence_held', 'access.evidence_released') ORDER BY index DESC LIMIT 1)
  = 'access.evidence_held')
"""
_MARK: Final = """
UPDATE artefact SET deleted_at = clock_timestamp()
WHERE kind = $1 AND tenant_id = $2 AND sha256 = $3 AND deleted_at IS NULL
"""


class Aged(NamedTuple):
    """An artefact in the store that is older than its days."""

    tenant: str
    sha256: str


class Retention:
    """Runs in every timeline process, and deletes in the one that writes the log. `days` is by kind."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        writer: Writer,
        stream: EventStream,
        *,
        days: Mapping[str, int],
        seconds: float,
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._stream = stream
        self._days = days
        self._seconds = seconds

    async def run(self) -> None:
        """Look for what is older, every so often, until cancelled."""
        await rounds.every(self._seconds, "retention", self._round)

    async def _round(self) -> None:
        if not self._days or not self._writer.active:
            return
        try:
            if await self._all_is_logged():
                await self.sweep()
        except (StoreUnavailable, nats.errors.Error, nats.js.errors.Error) as error:
            log.warning("retention_waits", error=f"{type(error).__name__}: {error}")

    async def sweep(self) -> int:
        """Delete what is over; returns how many objects that were.

        Raises:
            StoreUnavailable: the rest waits for the next round.
        """
        deleted = 0
        for kind, days in self._days.items():
            now: datetime = await self._database.pool.fetchval("SELECT clock_timestamp()")
            before, group = now - timedelta(days=days), list[Aged]()
            async for item in self._store.listed(f"{ROOT}/{kind}"):
                match = _KEY.fullmatch(item.key)
                if match is not None and item.modified < before:
                    group.append(Aged(match["tenant"], match["sha256"]))
                if len(group) == GROUP:
                    deleted += await self._delete(kind, group, before)
                    group = []
            deleted += await self._delete(kind, group, before)
        if deleted:
            log.info("retention_swept", deleted=deleted)
        return deleted

    async def _all_is_logged(self) -> bool:
        extent = await self._stream.extent()
        async with self._database.transaction("retention position") as tx:
            state = await storage.read_state(tx)
        return state is not None and (state.epoch, state.seq) == (extent.epoch, extent.last)

    async def _delete(self, kind: str, group: Sequence[Aged], before: datetime) -> int:
        """Mark, then delete: what a crash leaves marked and there is deleted in the next round."""
        if not group:
            return 0
        async with self._database.transaction("retention") as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(hashtext($1))", LOCK)
            kept = await self._kept(tx, kind, group, before)
            over = [aged for aged in group if aged not in kept and await self._still_old(kind, aged, before)]
            await tx.executemany(_MARK, [(kind, aged.tenant, bytes.fromhex(aged.sha256)) for aged in over])
        for aged in over:
            await self._store.delete(key_of(aged.tenant, kind, aged.sha256))
            metrics.ARTEFACTS_DELETED.labels(kind).inc()
            log.info("artefact_deleted", kind=kind, tenant=aged.tenant, sha256=aged.sha256, days=self._days[kind])
        return len(over)

    async def _kept(self, tx: Tx, kind: str, group: Sequence[Aged], before: datetime) -> set[Aged]:
        hashes, tenants = [bytes.fromhex(aged.sha256) for aged in group], [aged.tenant for aged in group]
        return {Aged(row["tenant_id"], row["sha256"]) for row in await tx.fetch(_KEPT, kind, hashes, tenants, before)}

    async def _still_old(self, kind: str, aged: Aged, before: datetime) -> bool:
        """Whether nobody has kept the same bytes again meanwhile."""
        found = await self._store.look(key_of(aged.tenant, kind, aged.sha256))
        return found is not None and found.modified < before
