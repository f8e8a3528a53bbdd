"""Giving a URL out: policy has said yes, the object is there and as long as the log says, and the log is told."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from libs.common.artefacts import key_of
from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.access import EvidenceOpened
from libs.common.contracts.envelope import Ref
from libs.common.contracts.marking import Marking
from libs.common.database import Database
from libs.common.errors import NotFound
from libs.common.ids import new_id
from libs.common.objectstore import ObjectStore
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Decision, Principal
from libs.common.telemetry import log
from services.gateway import metrics
from services.gateway.evidence.links import Link, Links

SERVICE: Final = "gateway"
FILENAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artefact as the timeline describes it, and for how long and under which name it is to be read.

    `new`: no event names it yet; the fact that tells of the URL does.
    """

    found: Mapping[str, Any]
    seconds: int
    filename: str = ""
    new: bool = False


@dataclass(frozen=True, slots=True)
class Opener:
    """Who wants to read it, and what policy said to that."""

    principal: Principal
    tenant: str
    request_key: str
    decision: Decision


class EvidenceDesk:
    """Gives out URLs. `via_gateway`: of S3, too, they are the gateway's own, for who cannot reach the bucket."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        links: Links,
        *,
        via_gateway: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._store = store
        self._links = links
        self._direct = not (store.local or via_gateway)
        self._outbox = Outbox(SERVICE, database.schema)
        self._clock = clock

    async def open(self, opener: Opener, wanted: Wanted) -> dict[str, Any]:
        """{url, expires_at, sha256, kind, length, filename}; `url` is a path at this gateway, or one of S3.

        Each URL that is given out is told, also where a request is repeated.

        Raises:
            NotFound: the object is not there, or not yet, or not what the log names.
            StoreUnavailable, Misconfigured: no URL was given out.
        """
        now, found = self._clock(), wanted.found
        until = now + timedelta(seconds=wanted.seconds)
        await self._check(opener.tenant, found)
        filename = wanted.filename or f"{found['kind']}-{found['sha256']}"
        key = key_of(opener.tenant, found["kind"], found["sha256"])
        url = await self._store.signed_url(key, wanted.seconds) if self._direct else None
        if url is None:
            link = Link(
                sha256=found["sha256"],
                tenant=opener.tenant,
                kind=found["kind"],
                length=found["length"],
                filename=filename,
                until=int(until.timestamp()),
            )
            url = self._links.url(link)
        await self._tell(opener, wanted, until=until, now=now)
        about = {name: found[name] for name in ("sha256", "kind", "length")}
        return {"url": url, "expires_at": rfc3339(until), **about, "filename": filename}

    async def _check(self, tenant: str, found: Mapping[str, Any]) -> None:
        if found["deleted_at"] is not None:
            raise NotFound(
                f"This artefact was deleted at {found['deleted_at']}: its retention was over, or it was redacted.",
                fix="The log still names it by its hash; who has a copy can prove that it is one.",
                code="evidence_deleted",
            )
        length = await self._store.size(key_of(tenant, found["kind"], found["sha256"]))
        if length is None:
            raise NotFound(
                "The object store does not hold this artefact.",
                fix="Of the last minute, it may be on its way: try again. Otherwise the store has lost it.",
                code="evidence_missing",
            )
        if length != found["length"]:
            swapped(tenant, found["kind"], found["sha256"])
            raise NotFound(
                "What the object store holds under this hash is something else.",
                fix="It was changed there: look for the store's own versions.",
                code="evidence_swapped",
            )

    async def _tell(self, opener: Opener, wanted: Wanted, *, until: datetime, now: datetime) -> None:
        opening, found = new_id(), wanted.found
        fact = EvidenceOpened(
            opening_id=opening,
            actor=opener.principal.actor,
            sha256=found["sha256"],
            kind=found["kind"],
            index=found["index"],
            expires_at=rfc3339(until),
            method=opener.principal.method,
            decision_id=opener.decision.decision_id,
            policy_revision=opener.decision.revision,
        )
        cause = Cause(
            tenant=opener.tenant,
            actor=opener.principal.actor,
            correlation=opener.request_key,
            incident_id=found["incident_id"] or "",
            execution_id=found["execution_id"] or "",
            marking=Marking(found["environment"], found["clearance"]),
        )
        refs = [Ref(found["kind"], found["sha256"], found["length"])] if wanted.new else []
        event = self._outbox.event(fact, aggregate_id=opening, aggregate_version=1, cause=cause, now=now, refs=refs)
        async with self._database.transaction("open_evidence") as tx:
            await self._outbox.add(tx, [event])


def swapped(tenant: str, kind: str, sha256: str) -> None:
    """Raise the alarm: an object is not what its name says, so that somebody has changed it behind our back."""
    metrics.EVIDENCE_SWAPPED.inc()
    log.error("evidence_swapped", tenant=tenant, kind=kind, sha256=sha256)
