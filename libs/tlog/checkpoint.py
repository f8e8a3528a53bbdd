r"""Checkpoints (C2SP tlog-checkpoint): a log's name, its size and its root, signed as a note by the log's key.

    <origin>\n<size>\n<base64 of the root>\n

Extension lines, which other logs may write, are kept and shown; ours writes none. A key is the log's when its name is
the origin: a checkpoint that only witnesses signed is nobody's promise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from libs.tlog.errors import FormatError, SignatureError
from libs.tlog.note import ED25519, Note, Signer, Verified, Verifier, open_note, sign_note
from libs.tlog.spelling import MAX_NUMBER, base64_bytes, base64_text, number, shown
from libs.tlog.tree import EMPTY_ROOT, HASH_BYTES


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself at one size. Raises FormatError for what no checkpoint can say."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(line and "\n" not in line for line in (self.origin, *self.extensions)):
            raise FormatError("a checkpoint's lines are not empty, and each is one line")
        if not 0 <= self.size <= MAX_NUMBER:
            raise FormatError(f"a log has no size {self.size}")
        if len(self.root) != HASH_BYTES:
            raise FormatError(f"the checkpoint's root is {len(self.root)} bytes, not {HASH_BYTES}")
        if not self.size and self.root != EMPTY_ROOT:
            raise FormatError("the checkpoint's root is not that of an empty log")

    def text(self) -> str:
        """The note's text: the bytes that are signed."""
        lines = (self.origin, str(self.size), base64_text(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint of a note's text. Raises FormatError unless `text()` would give the same."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise FormatError("a checkpoint has the lines origin, size and root, each ended by a newline")
        size = number(lines[1], "the checkpoint's size")
        root = base64_bytes(lines[2], "the checkpoint's root", length=HASH_BYTES)
        return cls(lines[0], size, root, tuple(lines[3:-1]))


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint whose signature by its log holds; `raw` is the note, as it came."""

    checkpoint: Checkpoint
    note: Note
    raw: bytes

    @property
    def signers(self) -> tuple[Verified, ...]:
        """The log's own signatures: more than one while a key is changed for another."""
        return tuple(found for found in self.note.verified if _is_of(found.key, self.checkpoint.origin))

    @property
    def witnesses(self) -> tuple[Verified, ...]:
        """Cosignatures that hold, each with its time."""
        return tuple(found for found in self.note.verified if found.time is not None)


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[Signer]) -> bytes:
    """The signed note. Raises FormatError unless every signer has the origin as its name."""
    for signer in signers:
        if signer.name != checkpoint.origin:
            raise FormatError(f"the key {shown(signer.name)} is not one of the log {shown(checkpoint.origin)}")
    return sign_note(checkpoint.text(), signers)


def open_checkpoint(raw: bytes, verifiers: Iterable[Verifier]) -> Signed:
    """The checkpoint of a note that its log has signed with one of the keys.

    Raises:
        FormatError: it is no note or no checkpoint.
        SignatureError: a known key's signature does not hold, or none is there that is the log's.
    """
    note = open_note(raw, verifiers)
    signed = Signed(Checkpoint.parse(note.text), note, raw)
    if not signed.signers:
        names = ", ".join(found.key.name for found in note.verified)
        raise SignatureError(f"the log {signed.checkpoint.origin} has not signed its checkpoint, only {names}")
    return signed


def _is_of(key: Verifier, origin: str) -> bool:
    return key.kind == ED25519 and key.name == origin
