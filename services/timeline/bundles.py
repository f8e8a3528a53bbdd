"""`bundle` of `rpc.timeline`: an incident's evidence as one file, sealed, kept as an artefact, and named by the log.

The file is made for who may view every event of the incident, and of nothing else. It is verified as an outsider would
before it is given out. Its envelope's SHA-256 is asked to be logged in the transaction that stores the answer, so a
bundle that was answered is one that the log names; what a crash leaves in the store before that is deleted in minutes.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final, TypeVar

from msgspec import Struct
from pydantic import StringConstraints

from libs.common.artefacts import Artefacts, key_of, ref_of
from libs.common.crash import crash_point
from libs.common.database import Database, Tx
from libs.common.errors import Misconfigured, TooLarge, Unavailable
from libs.common.objectstore import ObjectStore
from libs.common.policy import Resource, require, require_scope
from libs.common.rpc import Answer, Caller, Question, RpcServer
from libs.common.telemetry import log
from libs.tlog.archive import pack
from libs.tlog.bundle import Content, build, sealed_digest
from libs.tlog.errors import FormatError, TlogError
from libs.tlog.inspection import verify_bundle
from libs.tlog.note import Signer, Verifier
from libs.tlog.proofs import Hashes, inclusion_proof
from services.timeline import control, exhibits, incidentlog, metrics, redaction
from services.timeline.checkpoints import Incomplete
from services.timeline.exhibits import Exhibits, Limits
from services.timeline.incidentlog import Asked, Held
from services.timeline.keys import KeyFiles, KeyTrouble
from services.timeline.proving import broken, proving_hashes

T = TypeVar("T")
SEALED: Final = "bundle_sealed"
AT_ONCE: Final = 2
"""Bundles that a process makes at the same time: each is in memory, twice."""
NAMELESS_SECONDS: Final = 600.0
"""What lies in the store for so long, and no committed answer names it, is deleted: it holds payloads."""
BREATH_SECONDS: Final = 3.0
"""A transaction that waits says so this often: the server ends one that is silent for ten seconds."""


class Bundle(Question):
    """Whose evidence."""

    incident_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Patience(Struct, frozen=True):
    """In seconds: for a checkpoint, and for all of it."""

    checkpoint: float
    whole: float


class Keys(Struct, frozen=True):
    """What seals, and the public keys that a bundle is verified with: the log's, that one's, witnesses'."""

    sealer: Signer
    public: Sequence[Verifier]


class Made(Struct, frozen=True):
    """The file, and its envelope's SHA-256."""

    file: bytes
    envelope: str


class BundleDesk:
    """Makes bundles. `log_keys` are those that sign checkpoints, `bundle_keys` what seals: the first one does."""

    def __init__(
        self,
        origin: str,
        database: Database,
        store: ObjectStore,
        *,
        log_keys: KeyFiles,
        bundle_keys: KeyFiles,
        witnesses: Sequence[Verifier] = (),
        limits: Limits,
        patience: Patience,
    ) -> None:
        self._origin = origin
        self._database = database
        self._store = store
        self._log_keys = log_keys
        self._bundle_keys = bundle_keys
        self._witnesses = witnesses
        self._limits = limits
        self._patience = patience
        self._turns = asyncio.Semaphore(AT_ONCE)

    def register(self, server: RpcServer) -> None:
        """Add `bundle`."""
        server.command("bundle", Bundle, self.bundle)

    async def bundle(self, tx: Tx, caller: Caller, question: Bundle) -> Answer:
        """Make it; the answer describes the artefact as `artefact` does, and what is in the file.

        Raises:
            NotFound, Denied, TooLarge: there is none to be had, or not for this caller.
            Misconfigured: there is no key to seal with.
            Unavailable: no checkpoint covers the incident yet, the store does not answer, or others are being made.
        """
        began = time.perf_counter()
        incident_id = question.incident_id
        scope = await require_scope(caller.principal, "timeline.view", "incident", caller.tenant)
        asked = Asked(incident_id, caller.tenant, scope, self._limits.whole)
        await incidentlog.readable(tx, asked)
        keys = self._keys()
        async with self._turn(), asyncio.timeout(self._patience.whole):
            held = await incidentlog.held(tx, asked, seconds=self._patience.checkpoint)
            marking = held.marking
            about = Resource(
                "incident",
                incident_id,
                caller.tenant,
                environment=marking.environment,
                clearance=marking.clearance,
            )
            decision = await require(caller.principal, "timeline.view", about)
            hashes = await self._hashes(tx, held)
            why = await exhibits.deleted(tx, held.entries)
            found = await _meanwhile(tx, self._objects(caller.tenant, held, why))
            content = Content(
                incident=incident_id,
                checkpoint=held.made.note,
                entries=held.entries,
                heads=held.heads,
                evidence=found.present,
                absent=found.absent,
                policy=decision.revision,
                specs=held.specs,
            )
            made = await _meanwhile(tx, asyncio.to_thread(_sealed, content, hashes, keys))
            ref = ref_of(exhibits.BUNDLE, made.file)
            await redaction.doom(self._database, caller.tenant, ref, seconds=NAMELESS_SECONDS)
            await _meanwhile(tx, Artefacts(self._store).keep(caller.tenant, exhibits.BUNDLE, made.file))
            crash_point("timeline_bundle_kept")
            await self._still_whole(tx, caller.tenant, held, ref.sha256)
            await redaction.spare(tx, caller.tenant, ref)
            said = {"incident": incident_id, "envelope": made.envelope, "sha256": ref.sha256}
            await control.ask(tx, self._origin, {"type": SEALED, **said, "size": str(held.made.size)})
        metrics.BUNDLES.observe(time.perf_counter() - began)
        log.info("bundle_sealed", incident_id=incident_id, sha256=ref.sha256, bytes=ref.length)
        return {
            "incident_id": incident_id,
            "execution_id": None,
            "sha256": ref.sha256,
            "kind": ref.kind,
            "length": ref.length,
            "index": held.last,
            "environment": marking.environment,
            "clearance": marking.clearance,
            "deleted_at": None,
            "envelope": made.envelope,
            "size": held.made.size,
            "leaves": len(held.entries),
            "absent": len(found.absent),
            "vkeys": [key.vkey for key in keys.public],
        }

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked():
            raise Unavailable("Other bundles are being made.", fix="Ask again in a moment.", code="bundle_busy")
        async with self._turns:
            yield

    def _keys(self) -> Keys:
        try:
            sealer = self._bundle_keys.signers()[0]
            logs = [signer.verifier for signer in self._log_keys.signers()]
        except KeyTrouble as trouble:
            raise Misconfigured(
                f"No bundle can be sealed: {trouble.reason}.",
                fix="`rangerctl audit keygen --origin ORIGIN/bundles -o FILE` makes a key that seals bundles, and"
                " RR_BUNDLE_KEY_FILE of the timeline names it; docs/operators.md, The log's keys and checkpoints.",
                code="bundle_key",
            ) from None
        if any(key.public == sealer.verifier.public for key in logs):
            raise Misconfigured(
                "No bundle can be sealed: the key in RR_BUNDLE_KEY_FILE is the log's own.",
                fix="Make another one with `rangerctl audit keygen`; docs/operators.md.",
                code="bundle_key",
            )
        return Keys(sealer, [*logs, sealer.verifier, *self._witnesses])

    async def _hashes(self, tx: Tx, held: Held) -> Hashes:
        size, indexes = held.made.size, [entry.index for entry in held.entries]
        try:
            return await proving_hashes(
                tx, size, lambda read: [inclusion_proof(index, size, read) for index in indexes]
            )
        except (TlogError, Incomplete) as error:
            raise broken(error) from None

    async def _still_whole(self, tx: Tx, tenant: str, held: Held, sha256: str) -> None:
        """Nothing of it is being redacted; from here on a redaction finds this bundle and deletes it.

        Raises:
            Unavailable: something was redacted meanwhile; the file is gone again.
        """
        await redaction.beside(tx)
        shown = [entry.index for entry in held.entries if entry.payload is not None]
        if await redaction.asked(tx, shown):
            await self._store.delete(key_of(tenant, exhibits.BUNDLE, sha256))
            raise Unavailable("Something of it was redacted meanwhile.", fix="Ask again.", code="bundle_redacted")

    async def _objects(self, tenant: str, held: Held, why: Mapping[str, str]) -> Exhibits:
        payloads = sum(len(entry.payload or b"") for entry in held.entries)
        limits = Limits(self._limits.each, self._limits.whole - payloads)
        return await exhibits.collect(self._store, tenant, held.entries, limits, why)


def _sealed(content: Content, hashes: Hashes, keys: Keys) -> Made:
    """The file, verified as whoever gets it will. Runs in a thread: it takes as long as the incident is large."""
    try:
        files = build(content, hashes, keys.public, keys.sealer)
        verify_bundle(files, keys.public)
    except TlogError as error:
        raise broken(error) from None
    try:
        return Made(pack(files), sealed_digest(files))
    except FormatError as error:
        raise TooLarge(f"The bundle would be too large: {error}.", code="bundle_too_large") from None


async def _meanwhile(tx: Tx, work: Awaitable[T]) -> T:
    """What the work gives, while the transaction, which waits for it, is kept alive."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=BREATH_SECONDS))[0]:
            await tx.execute("SELECT")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
