"""Signs checkpoints: what the log's leaves are, read back after they were committed, under the keys that may sign.

A size is signed once: what was signed is stored before anybody sees it, and is what is published after a crash.

Keys change by the log itself. A key that stands beside one that signs asks for a `key_rotation` leaf; the checkpoint
that covers the leaf is the old key's alone, and from the next on both sign, until the old one is taken out of the file.
So whoever knows the old key learns of the new one from a signed log. Any other key is a wrong one, and signs nothing.
"""

from collections.abc import Sequence

from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.telemetry import log
from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.errors import FormatError, ProofError
from libs.tlog.growth import Growth
from libs.tlog.note import Signer, Verifier, parse_note
from services.timeline import checkpoints, control, metrics, storage
from services.timeline.checkpoints import Incomplete, Made
from services.timeline.control import KEY_ROTATION, Asked
from services.timeline.errors import Frozen
from services.timeline.keys import KeyFiles, KeyTrouble


class Notary:
    """Signs the log in the database. `trouble` says why it does not, where it does not."""

    def __init__(self, database: Database, keys: KeyFiles, *, origin: str) -> None:
        self._database = database
        self._keys = keys
        self._origin = origin
        self.trouble: str | None = None

    async def sign(self) -> Made | None:
        """Sign the log as far as it has come; the newest checkpoint there is then, None while nothing can be signed.

        Raises:
            Frozen: the database does not hold what was signed, or what its state says.
        """
        async with self._database.transaction("timeline sign") as tx:
            state, made = await storage.read_state(tx), await checkpoints.newest(tx)
            rotation = await control.newest(tx, KEY_ROTATION)
        signers = await self._signers(made, rotation)
        if state is None or not state.tree.size or not signers or (made and made.size >= state.tree.size):
            return made
        async with self._database.transaction("timeline read back", snapshot=True) as tx:
            try:
                tree = await checkpoints.growth(tx, made.size) if made else Growth()
                _is_as_signed(tree, made)
                tiles = await checkpoints.grown(tx, tree, state.tree.size)
            except (Incomplete, ProofError) as error:
                raise Frozen(f"the database does not hold the log that its state names: {error}") from None
        root = tree.root()
        if root != state.tree.root():
            raise Frozen(
                f"the leaves give the root {root.hex()} at size {tree.size}, the log's state {state.tree.root().hex()}"
            )
        note = sign_checkpoint(Checkpoint(self._origin, tree.size, root), signers)
        async with self._database.transaction("timeline checkpoint") as tx:
            kept = await checkpoints.keep(tx, tree.size, root, note, tiles)
        if kept.root != root:
            raise Frozen(f"two roots at size {tree.size}: {kept.root.hex()} was signed, the leaves give {root.hex()}")
        crash_point("timeline_checkpoint_signed")
        metrics.CHECKPOINT.set(kept.size)
        return kept

    async def witnessed(self) -> Made | None:
        """The newest checkpoint that a witness has signed, with all their lines; None where there is none."""
        async with self._database.transaction("timeline witnessed") as tx:
            found = await checkpoints.newest_cosigned(tx)
            return None if found is None else await checkpoints.with_cosignatures(tx, found)

    async def _signers(self, made: Made | None, rotation: Asked | None) -> list[Signer]:
        """Who signs the next checkpoint; a key that is new is announced first."""
        try:
            signers = self._keys.signers()
            allowed = _allowed(signers, made, rotation, self._origin)
        except KeyTrouble as trouble:
            self._say(trouble.reason)
            return []
        self._say(None)
        fresh = next((signer for signer in signers if signer not in allowed), None)
        if made and fresh and not (rotation and rotation.body["vkey"] == fresh.vkey and _is_open(rotation, made)):
            was = allowed[0].vkey
            async with self._database.transaction("timeline key rotation") as tx:
                await control.ask(tx, self._origin, {"type": KEY_ROTATION, "vkey": fresh.vkey, "was": was})
            log.warning("timeline_key_rotation", vkey=fresh.vkey, was=was)
        return allowed

    def _say(self, trouble: str | None) -> None:
        if trouble and trouble != self.trouble:
            log.error("timeline_signs_nothing", reason=trouble)
        self.trouble = trouble
        metrics.SIGNING.set(0 if trouble else 1)


def _is_as_signed(tree: Growth, made: Made | None) -> None:
    if made and tree.root() != made.root:
        raise Frozen(
            f"the database gives the root {tree.root().hex()} at size {made.size}, "
            f"but {made.root.hex()} was signed there: the log was rewritten, or its tiles were"
        )


def _is_open(rotation: Asked, made: Made) -> bool:
    """Whether the announcement is not yet covered by a checkpoint."""
    return rotation.index is None or rotation.index >= made.size


def _allowed(signers: Sequence[Signer], made: Made | None, rotation: Asked | None, origin: str) -> list[Signer]:
    """Those that signed the last checkpoint, and the one that it announces; the first key of all for a new log.

    Raises:
        KeyTrouble: none of them is among the keys.
    """
    if made is None:
        return list(signers[:1])
    try:
        signed = {line.key_id for line in parse_note(made.note)[1] if line.name == origin}
        if rotation and not _is_open(rotation, made):
            signed.add(Verifier.parse(rotation.body["vkey"]).key_id)
    except (FormatError, KeyError) as error:
        raise KeyTrouble(f"the last checkpoint, of size {made.size}, cannot be read: {error}") from None
    found = [signer for signer in signers if signer.key_id in signed]
    if not found:
        have = ", ".join(signer.key_id.hex() for signer in signers)
        raise KeyTrouble(
            f"the log's last checkpoint, of size {made.size}, was signed by the key "
            f"{', '.join(sorted(key_id.hex() for key_id in signed))}; RR_TIMELINE_KEY_FILE holds {have}: "
            "put the old key beside the new one"
        )
    return found
