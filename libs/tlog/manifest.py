"""What a bundle says of itself, and where its files are.

    checkpoint                    the log's signed note
    vkeys                         keys, one a line: a convenience, nobody should trust a bundle's own keys
    leaves/<index>                bytes as they are hashed
    proofs/<index>.tlog-proof     of each leaf, against the checkpoint
    payloads/<id>, salts.json     of each event; `payloads/@<index>` where the id is no name, or two events have it
    evidence/<sha256>             objects that events name
    manifest.json                 this
    bundle.dsse.json              in-toto Statement v1: the SHA-256 of every other file, and the manifest as predicate

The manifest is canonical JSON, integers as strings. `chains` are those said to be complete up to the checkpoint, each
with its last leaf's number and hash; `absent` are objects that events name and the bundle lacks, each with the reason.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from libs.tlog.errors import FormatError, ProfileError
from libs.tlog.heads import ChainKey, Head
from libs.tlog.profile import Value, parse
from libs.tlog.spelling import number
from libs.tlog.tree import HASH_BYTES

VERSION: Final = "rr.bundle/1"
CHECKPOINT, VKEYS, SALTS = "checkpoint", "vkeys", "salts.json"
MANIFEST, ENVELOPE = "manifest.json", "bundle.dsse.json"
LEAVES, PROOFS, PAYLOADS, EVIDENCE = "leaves/", "proofs/", "payloads/", "evidence/"
PROOF_END: Final = ".tlog-proof"
_KEYS: Final = frozenset(
    {"absent", "chains", "incident", "leaves", "origin", "policy", "redacted", "sequences", "size", "specs", "v"}
)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}").fullmatch
_SHA256: Final = re.compile(r"[0-9a-f]{64}").fullmatch


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle's own account of itself; verifying compares each word with its leaves.

    `sequences` are the first and last sequence among the events, each as (stream, epoch, sequence); None without any.
    """

    incident: str
    origin: str
    size: int
    leaves: int
    chains: Mapping[ChainKey, Head]
    sequences: tuple[tuple[str, int, int], tuple[str, int, int]] | None
    redacted: tuple[int, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    specs: tuple[str, ...] = ()

    def value(self) -> dict[str, Value]:
        """As it stands in the file and in the statement's predicate."""
        chains: list[Value] = [
            {"head": head.event_hash.hex(), "id": chain_id, "k": kind, "n": str(head.n)}
            for (kind, chain_id), head in sorted(self.chains.items())
        ]
        ends: list[Value] = [
            {"epoch": str(epoch), "seq": str(seq), "stream": stream} for stream, epoch, seq in self.sequences or ()
        ]
        return {
            "absent": dict(self.absent),
            "chains": chains,
            "incident": self.incident,
            "leaves": str(self.leaves),
            "origin": self.origin,
            "policy": self.policy,
            "redacted": [str(index) for index in self.redacted],
            "sequences": ends,
            "size": str(self.size),
            "specs": [*self.specs],
            "v": VERSION,
        }

    @classmethod
    def parse(cls, raw: bytes) -> "Manifest":
        """The manifest of a file. Raises FormatError unless `value` gives the same."""
        try:
            found: Any = parse(raw)
            if not isinstance(found, dict) or found.keys() != _KEYS or found["v"] != VERSION:
                raise FormatError(f"it is not {VERSION}")  # noqa: TRY301 -- told with the file's name below
            manifest = cls._of(found)
        except (ProfileError, FormatError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{MANIFEST}: {error}") from None
        if manifest.value() != found:
            raise FormatError(f"{MANIFEST}: not in its one spelling")
        return manifest

    @classmethod
    def _of(cls, found: dict[str, Any]) -> "Manifest":
        ends = [
            (str(end["stream"]), number(end["epoch"], "epoch"), number(end["seq"], "seq")) for end in found["sequences"]
        ]
        if len(ends) not in {0, 2}:
            raise FormatError("sequences are the first and the last")
        return cls(
            incident=str(found["incident"]),
            origin=str(found["origin"]),
            size=number(found["size"], "size"),
            leaves=number(found["leaves"], "leaves"),
            chains={(str(item["k"]), str(item["id"])): _head(item) for item in found["chains"]},
            sequences=(ends[0], ends[1]) if ends else None,
            redacted=tuple(number(item, "redacted") for item in found["redacted"]),
            absent={sha256_text(name): str(why) for name, why in found["absent"].items()},
            policy=str(found["policy"]),
            specs=tuple(sha256_text(item) for item in found["specs"]),
        )


def leaf_name(index: int) -> str:
    """The file of a leaf."""
    return f"{LEAVES}{index}"


def proof_name(index: int) -> str:
    """The file of a leaf's proof."""
    return f"{PROOFS}{index}{PROOF_END}"


def payload_names(events: Iterable[tuple[int, str]]) -> dict[int, str]:
    """The files of events' payloads, given as (index, id)."""
    listed = list(events)
    often = Counter(event_id for _, event_id in listed)
    return {
        index: f"{PAYLOADS}{event_id if often[event_id] == 1 and _PLAIN(event_id) else f'@{index}'}"
        for index, event_id in listed
    }


def sha256_text(text: object) -> str:
    """A SHA-256 in lower-case hex. Raises FormatError."""
    if not isinstance(text, str) or _SHA256(text) is None:
        raise FormatError(f"not a SHA-256 in lower-case hex: {text!r}")
    return text


def _head(item: Mapping[str, Any]) -> Head:
    head = bytes.fromhex(sha256_text(item["head"]))
    assert len(head) == HASH_BYTES
    return Head(number(item["n"], "n"), head)
