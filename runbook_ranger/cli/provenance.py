"""Provenance hashes: how one is shown, and whether one that somebody noted down stands in its chain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runbook_ranger.cli.errors import WrongUsage

if TYPE_CHECKING:
    from libs.tlog.chain import ChainKey, Head
    from libs.tlog.verify import StoredEntry

_NOTED: Final = re.compile(r"(execution|incident|runbook):([^=\0]{1,512})=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Noted:
    """A hash that was once shown as the provenance of something."""

    kind: str
    id: str
    hash: bytes

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}={self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Noted":
        """What `KIND:ID=HASH` says.

        Raises:
            WrongUsage: it is not in this form.
        """
        found = _NOTED.fullmatch(text)
        if found is None:
            fix = "Write incident:ID=HASH or execution:ID=HASH, with the 64 hex digits that `show` had."
            raise WrongUsage(f"{text!r} is no provenance hash of something.", fix=fix)
        return cls(found[1], found[2], bytes.fromhex(found[3]))


class Sought:
    """Looks for noted hashes among leaves that were verified."""

    def __init__(self, noted: Sequence[Noted]) -> None:
        self._noted = noted
        self._hashes = {one.hash for one in noted}
        self._found: dict[Noted, tuple[int, int]] = {}

    def see(self, entry: "StoredEntry") -> None:
        """Remember the leaf if it is one of them, in the chain of what it was noted for."""
        if entry.event_hash not in self._hashes:
            return
        import json

        chains = {(link["k"], link["id"]): int(link["n"]) for link in json.loads(entry.leaf).get("chains", ())}
        for one in self._noted:
            if one.hash == entry.event_hash and (one.kind, one.id) in chains:
                self._found[one] = (entry.index, chains[one.kind, one.id])

    @property
    def missing(self) -> list[Noted]:
        """Those that are no leaf of their chain."""
        return [one for one in self._noted if one not in self._found]

    def told(self, heads: "dict[ChainKey, Head]") -> list[dict[str, Any]]:
        """Those that are: where, the how many-eth of its chain, and of how many."""
        return [
            {
                "kind": one.kind,
                "id": one.id,
                "hash": one.hash.hex(),
                "index": index,
                "n": n,
                "of": heads[one.kind, one.id].n,
            }
            for one, (index, n) in self._found.items()
        ]


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """A thing for people: where its chain ends in a line with the hash, or why that is not known."""
    place = found.get("provenance")
    if not isinstance(place, dict):
        return found
    if found.get("provenance_hash"):
        line = (
            f"{found['provenance_hash']} (leaf {place.get('index')} of the log, number {place.get('n')} of its chain)"
        )
    else:
        line = f"unknown: {place.get('missing') or 'the log did not say'}"
    return {key: value for key, value in found.items() if key != "provenance"} | {"provenance_hash": line}
