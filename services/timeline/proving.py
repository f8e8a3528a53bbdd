"""Proofs of what was signed, made from a few ranges of hashes, and verified before they are given out.

`proof`, `consistency` and `checkpoint` of `rpc.timeline`. A leaf names who did what to which incident, so it is shown
to whom its event is shown; hashes, sizes and checkpoints tell nothing and are for everybody who may look at the log.
"""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Final

from pydantic import Field, StringConstraints, model_validator

from libs.common.clock import rfc3339
from libs.common.database import Tx
from libs.common.errors import Denied, InvalidInput, NotFound, Unavailable
from libs.common.policy import Resource, require, require_scope
from libs.common.rpc import Answer, Caller, Question, RpcServer
from libs.common.sight import filters, seen
from libs.tlog.errors import TlogError
from libs.tlog.hashing import event_hash
from libs.tlog.proofs import Hashes, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion
from libs.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileHashes, tile_of
from libs.tlog.tlogproof import ConsistencyProof, LeafProof, TlogProof
from libs.tlog.tree import HASH_BYTES
from services.timeline import checkpoints, witnesses
from services.timeline.checkpoints import Incomplete, Made
from services.timeline.whole import require_whole

Size = Annotated[int, Field(ge=1, le=2**62)]
_SEEN: Final = f"SELECT true FROM entry_seen WHERE index = $1 AND tenant_id = $2 AND {seen('$3', '$4')}"
_NAMED: Final = f"""
SELECT index FROM leaf JOIN entry_seen USING (index)
WHERE leaf.kind = 'event' AND leaf.event_id = $1 AND tenant_id = $2 AND {seen("$3", "$4")} ORDER BY index LIMIT 1
"""
_LEAF: Final = "SELECT leaf FROM leaf WHERE index = $1"


class Proof(Question):
    """A leaf, by its index or its event's id, under the newest checkpoint, the newest `witnessed`, or one of a size."""

    index: Annotated[int, Field(ge=0, le=2**62)] | None = None
    event_id: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    size: Size | None = None
    witnessed: bool = False

    @model_validator(mode="after")
    def _one(self) -> "Proof":
        _one_checkpoint(self.size, witnessed=self.witnessed)
        if (self.index is None) == (self.event_id is None):
            raise ValueError("name index or event_id")
        return self


class Consistency(Question):
    """Two sizes, of which the newer one is the newest checkpoint's unless it is said."""

    old: Size
    new: Size | None = None


class Checkpoint(Question):
    """The newest checkpoint, the newest that a witness has signed, or the one of a size."""

    size: Size | None = None
    witnessed: bool = False

    @model_validator(mode="after")
    def _one(self) -> "Checkpoint":
        _one_checkpoint(self.size, witnessed=self.witnessed)
        return self


class ProofDesk:
    """The verbs that prove."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def register(self, server: RpcServer) -> None:
        """Add `proof`, `consistency` and `checkpoint`."""
        server.query("proof", Proof, self.proof)
        server.query("consistency", Consistency, self.consistency)
        server.query("checkpoint", Checkpoint, self.checkpoint)

    async def proof(self, tx: Tx, caller: Caller, question: Proof) -> Answer:
        """`rr.proof/1` of a leaf that the caller may view."""
        index = await self._index(tx, caller, question)
        leaf: bytes | None = await tx.fetchval(_LEAF, index)
        if leaf is None:
            raise _no_such(index)
        made = await _made(tx, question.size, witnessed=question.witnessed)
        if index >= made.size:
            raise NotFound(
                f"Leaf {index} stands in no checkpoint of size {made.size}.", fix="The next one comes within a second."
            )
        try:
            hashes = await proving_hashes(tx, made.size, lambda read: inclusion_proof(index, made.size, read))
            path = inclusion_proof(index, made.size, hashes)
            verify_inclusion(event_hash(leaf), index, made.size, path, made.root)
        except (TlogError, Incomplete) as error:
            raise broken(error) from None
        return LeafProof(self._origin, made.size, leaf, TlogProof(index, tuple(path), made.note)).as_json()

    async def consistency(self, tx: Tx, caller: Caller, question: Consistency) -> Answer:
        """`rr.consistency/1` between two sizes up to the newest checkpoint's."""
        await _may_look(caller)
        newest = await _made(tx, None)
        new = question.new or newest.size
        if not question.old <= new <= newest.size:
            raise InvalidInput(f"`old` <= `new` <= {newest.size}, the newest checkpoint's size.")
        try:
            hashes = await proving_hashes(tx, newest.size, lambda read: consistency_proof(question.old, new, read))
            path = consistency_proof(question.old, new, hashes)
            old, last = await checkpoints.at(tx, question.old), await checkpoints.at(tx, new)
            if old and last:
                verify_consistency(question.old, new, old.root, last.root, path)
        except (TlogError, Incomplete) as error:
            raise broken(error) from None
        return ConsistencyProof(question.old, new, tuple(path)).as_json()

    async def checkpoint(self, tx: Tx, caller: Caller, question: Checkpoint) -> Answer:
        """A checkpoint: the note as it was signed, and what it says."""
        await _may_look(caller)
        made = await _made(tx, question.size, witnessed=question.witnessed)
        return {
            "checkpoint": made.note.decode(),
            "origin": self._origin,
            "size": made.size,
            "root": made.root.hex(),
            "made_at": rfc3339(made.made_at) if made.made_at else None,
            "witnesses": await witnesses.shown(tx, made.size),
        }

    async def _index(self, tx: Tx, caller: Caller, question: Proof) -> int:
        """The leaf's index, once it is clear that the caller may see the leaf."""
        scope = await require_scope(caller.principal, "timeline.view", "timeline", caller.tenant)
        if question.event_id is not None:
            found: int | None = await tx.fetchval(_NAMED, question.event_id, caller.tenant, *filters(scope))
            if found is None:
                raise NotFound(f"The log has no event {question.event_id} that you may view.")
            return found
        assert question.index is not None
        if not await tx.fetchval(_SEEN, question.index, caller.tenant, *filters(scope)):
            try:
                await require_whole(caller)
            except Denied:
                raise _no_such(question.index) from None
        return question.index


async def _may_look(caller: Caller) -> None:
    await require(caller.principal, "timeline.view", Resource("timeline", "log", caller.tenant))


def _one_checkpoint(size: int | None, *, witnessed: bool) -> None:
    if witnessed and size is not None:
        raise ValueError("name a size, or the newest that is witnessed")


async def _made(tx: Tx, size: int | None, *, witnessed: bool = False) -> Made:
    """The checkpoint that is asked for, with its witnesses' lines."""
    newest = checkpoints.newest_cosigned if witnessed else checkpoints.newest
    found = await newest(tx) if size is None else await checkpoints.at(tx, size)
    if found is None and witnessed:
        raise NotFound("No witness has signed this log yet.", fix="docs/operators.md, Witnesses.", code="not_witnessed")
    if found is None:
        which = "no checkpoint yet" if size is None else f"no checkpoint of size {size}"
        raise NotFound(f"The log has {which}.", fix="`GET /timeline/checkpoint` names the newest; docs/operators.md.")
    return await checkpoints.with_cosignatures(tx, found)


class _Wanted:
    """Which tiles are asked for; every hash is nothing yet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.tiles: dict[Tile, None] = {}

    def __call__(self, level: int, index: int) -> bytes:
        at, inside = divmod(level, TILE_HEIGHT)
        self.tiles[tile_of(at, (index << inside) // TILE_WIDTH, self.size)] = None
        return bytes(HASH_BYTES)


async def proving_hashes(tx: Tx, size: int, prove: Callable[[Hashes], object]) -> Hashes:
    """The hashes of a log of this size that `prove` needs: what it asks for is found out, then read at once.

    Raises:
        Incomplete: the database lacks some of them.
    """
    wanted = _Wanted(size)
    prove(cache(wanted))
    read = await checkpoints.rows(tx, wanted.tiles)
    return TileHashes(read.__getitem__, size)


def _no_such(index: int) -> NotFound:
    return NotFound(f"The log has no leaf {index} that you may view.")


def broken(error: Exception) -> Unavailable:
    """What is stored does not hold together: whoever runs it has to look."""
    return Unavailable(
        f"The log's hashes do not prove what was signed: {error}.",
        fix="The database is damaged or was changed; `python -m services.timeline.audit` says where.",
        code="proof_failed",
    )
