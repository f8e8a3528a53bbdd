"""`cosign` of `rpc.timeline`: a checkpoint of this log with what witnesses have put beneath it is handed in.

A cosignature (C2SP tlog-cosignature) says that a witness saw this size with this root, and nothing else there before:
with it, whoever has database and keys cannot rewrite the log unseen. Only lines of witnesses that are known here and
that hold are kept, beside the checkpoint, and given out with it from then on; what the log signed stays as it is. A
checkpoint of another root under a witness's signature shows two logs of one name: it is refused, and the alarm raised.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import StringConstraints

from libs.common.database import Tx
from libs.common.errors import Conflict, InvalidInput, NotFound
from libs.common.rpc import Answer, Caller, Question, RpcServer
from libs.common.telemetry import log
from libs.tlog.checkpoint import Checkpoint
from libs.tlog.errors import FormatError, SignatureError
from libs.tlog.note import COSIGNATURE, Note, Verified, Verifier, open_note, parse_note
from services.timeline import checkpoints, metrics
from services.timeline.whole import require_whole

_KEEP: Final = """
INSERT INTO cosignature (size, key_id, name, line, signed_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
RETURNING true
"""


class Cosigned(Question):
    """A checkpoint as a witness gave it back: the note, with its signature lines."""

    checkpoint: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class WitnessDesk:
    """The verb. `witnesses` are the public keys whose cosignatures are kept."""

    def __init__(self, origin: str, witnesses: Sequence[Verifier]) -> None:
        self._origin = origin
        self._witnesses = witnesses

    def register(self, server: RpcServer) -> None:
        """Add `cosign`."""
        server.command("cosign", Cosigned, self.cosign)

    async def cosign(self, tx: Tx, caller: Caller, question: Cosigned) -> Answer:
        """Keep what witnesses say of a checkpoint; of each the first word for a size stays. `new` counts what was not.

        Raises:
            InvalidInput: it is no checkpoint, or bears no cosignature of a known witness that holds.
            NotFound: this log signed none of that size.
            Conflict: it is another root's.
        """
        await require_whole(caller)
        note, said = self._opened(question.checkpoint.encode())
        made = await checkpoints.at(tx, said.size)
        if made is None:
            raise NotFound(
                f"The log has no checkpoint of size {said.size}.", fix="Have one cosigned that `audit checkpoint` gave."
            )
        if parse_note(made.note)[0] != note.text:
            metrics.SPLIT_VIEWS.inc()
            witnesses = [found.key.name for found in note.verified]
            log.critical("timeline_split_view", size=said.size, root=said.root.hex(), witnesses=witnesses)
            raise Conflict(
                f"Of size {said.size} this log signed the root {made.root.hex()}; the witness saw {said.root.hex()}.",
                fix="Keep that note: two logs were signed under one name. docs/operators.md, When the log freezes.",
                code="other_root",
            )
        new = [found for found in note.verified if await self._keep(tx, said.size, found)]
        log.info("timeline_cosigned", size=said.size, witnesses=[found.key.name for found in new])
        return {"size": said.size, "new": len(new), "witnesses": await shown(tx, said.size)}

    def _opened(self, raw: bytes) -> tuple[Note, Checkpoint]:
        try:
            note = open_note(raw, self._witnesses)
            said = Checkpoint.parse(note.text)
        except FormatError as error:
            raise InvalidInput(f"This is no cosigned checkpoint: {error}.", code="not_a_checkpoint") from None
        except SignatureError as error:
            raise InvalidInput(
                f"No cosignature of it can be taken: {error}.",
                fix="RR_WITNESS_VKEYS of the timeline names those that are known; docs/operators.md, Witnesses.",
                code="unknown_witness",
            ) from None
        if said.origin != self._origin:
            raise InvalidInput(f"It is of the log {said.origin}, this is {self._origin}.", code="not_a_checkpoint")
        return note, said

    async def _keep(self, tx: Tx, size: int, found: Verified) -> bool:
        line = found.signature.line()
        values = (found.key.key_id, found.key.name, line, found.time)
        return bool(await tx.fetchval(_KEEP, size, *values))


async def shown(tx: Tx, size: int) -> list[dict[str, Any]]:
    """The witnesses of a checkpoint, and when each saw it, in Unix seconds."""
    rows = await checkpoints.cosignatures(tx, size)
    return [{"name": row["name"], "key_id": row["key_id"].hex(), "time": row["signed_at"]} for row in rows]


def parsed(text: str) -> list[Verifier]:
    """Witnesses' vkeys, divided by spaces or line breaks.

    Raises:
        ValueError: one is none, or is not a witness's.
    """
    found = []
    for word in text.split():
        key = Verifier.parse(word)
        if key.kind != COSIGNATURE:
            raise ValueError(f"the key {key.name} is not a witness's: its type is {key.kind}, not {COSIGNATURE}")
        found.append(key)
    return found
