"""What was verified, and to where, for people and for programs."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from libs.tlog.checkpoint import Signed
from libs.tlog.export import Exported
from libs.tlog.inspection import Inspected


@dataclass(frozen=True, slots=True)
class Place:
    """A leaf of the stream: its index, its time by the server's clock, and the event, where it is one."""

    index: int
    time: str
    event_id: str = ""
    event_type: str = ""

    @classmethod
    def of(cls, last: tuple[int, bytes] | None) -> "Place | None":
        """The place of a verified leaf."""
        if last is None:
            return None
        leaf = orjson.loads(last[1])
        event = leaf.get("ev", {"id": leaf.get("body", {}).get("id", ""), "type": leaf["kind"]})
        return cls(last[0], leaf["src"]["ts"], event["id"], event["type"])

    def words(self) -> str:
        """As a person reads it."""
        named = " ".join(part for part in (self.event_type, self.event_id) if part)
        return f"event {self.index} ({named}) at {self.time}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file or folder was found to be, all of which holds. `notes` are what an auditor should know besides."""

    what: str
    signed: Signed
    leaves: int
    first: int
    last: Place | None
    redacted: tuple[int, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    held: int | None = None

    @classmethod
    def of_export(cls, what: str, found: Exported) -> "Verdict":
        """Of an export, or of the published files."""
        notes = []
        if found.first:
            notes.append(f"begins at leaf {found.first}: what its leaves say of those before is not checked")
        if found.withheld:
            notes.append(f"{found.withheld} leaves are withheld: only their hashes are checked")
        if found.bare:
            notes.append(f"{found.bare} payloads are not shown: what their leaves commit to is not checked")
        if found.kept:
            notes.append(f"redacted after they were copied: the payloads of leaves {', '.join(map(str, found.kept))}")
        notes += [f"leaf {index} announces the key {key.vkey}" for index, key in found.announced]
        if found.position:
            notes.append("every stream sequence has one outcome, to {2} of {0} epoch {1}".format(*found.position))
        size = found.signed.checkpoint.size
        held = found.old.checkpoint.size if found.old else None
        return cls(
            what, found.signed, size - found.first, found.first, Place.of(found.last), tuple(found.redacted),
            found.kinds, tuple(notes), held,
        )  # fmt: skip

    @classmethod
    def of_bundle(cls, found: Inspected) -> "Verdict":
        """Of an evidence bundle."""
        said = found.manifest
        chains = [
            f"{kind} {chain_id}: {head.n} leaves, provenance hash {head.event_hash.hex()}"
            for (kind, chain_id), head in sorted(said.chains.items())
        ]
        notes = [
            f"sealed by {found.sealed_by.name}",
            *(f"chain of {chain}" for chain in chains),
            *(f"object {digest} is not in the bundle: {why}" for digest, why in said.absent.items()),
        ]
        what = f"bundle of incident {said.incident}"
        return cls(what, found.signed, said.leaves, 0, Place.of(found.last), said.redacted, notes=tuple(notes))

    def lines(self) -> list[str]:
        """For people: the first line is the verdict."""
        said = self.signed.checkpoint
        where = self.last.words() if self.last else "its beginning: no event was shown"
        kinds = f" ({', '.join(f'{count} {kind}' for kind, count in sorted(self.kinds.items()))})" if self.kinds else ""
        lines = [
            f"verified to {where}",
            f"{self.what}: {self.leaves} leaves{kinds}",
            f"log {said.origin} at size {said.size}, root {said.root.hex()}",
            f"signed by {', '.join(found.key.vkey for found in self.signed.signers)}",
        ]
        if self.redacted:
            lines.append(f"redacted: the payloads of leaves {', '.join(map(str, self.redacted))}")
        lines += self.notes
        if self.held is not None:
            lines.append(f"continues the checkpoint of size {self.held} that you hold")
        lines += [f"witnessed by {name} at {_moment(time)}" for name, time in self._witnesses()]
        if not self._witnesses() and self.held is None:
            lines.append("no witness of yours has signed: who has database and keys could have rewritten all of it")
        return lines

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        said = self.signed.checkpoint
        return {
            "verified": True,
            "what": self.what,
            "origin": said.origin,
            "size": said.size,
            "root": said.root.hex(),
            "first": self.first,
            "leaves": self.leaves,
            "kinds": self.kinds,
            "last": None
            if self.last is None
            else {
                "index": self.last.index,
                "time": self.last.time,
                "id": self.last.event_id,
                "type": self.last.event_type,
            },
            "redacted": list(self.redacted),
            "notes": list(self.notes),
            "continues": self.held,
            "witnesses": [{"name": name, "time": time} for name, time in self._witnesses()],
        }

    def _witnesses(self) -> list[tuple[str, int]]:
        return [(found.key.name, found.time) for found in self.signed.witnesses if found.time is not None]


def _moment(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds} of the epoch"
