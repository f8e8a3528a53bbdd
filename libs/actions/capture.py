"""A stream's beginning and end in bounded memory, with the hash of all of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from libs.actions.bounds import CUT
from libs.actions.masking import Mask

OVERLAP = 4096  # kept beyond each cut, so that a secret across the cut is still recognised whole


@dataclass(frozen=True, slots=True)
class Captured:
    """What is shown of a stream: `text` within the limit (plus the mark), and the facts about all of it."""

    text: str
    length: int
    sha256: str
    truncated: bool


class Capture:
    """Takes bytes as they come and keeps the first and the last half of `limit`."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._hash = hashlib.sha256()
        self.length = 0

    def feed(self, chunk: bytes) -> None:
        """Add what was read."""
        self._hash.update(chunk)
        self.length += len(chunk)
        room = self._half + OVERLAP - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 4 * (self._half + OVERLAP):
            del self._tail[: -(self._half + OVERLAP)]

    def done(self, mask: Mask) -> Captured:
        """The stream as text, masked before it is cut."""
        if self.length <= 2 * self._half:
            whole = mask.text((self._head + self._tail).decode("utf-8", "replace"))
            return Captured(whole, self.length, self._hash.hexdigest(), truncated=False)
        end = (self._head + self._tail)[-(self._half + OVERLAP) :]
        head = mask.text(self._head.decode("utf-8", "replace"))[: self._half]
        tail = mask.text(end.decode("utf-8", "replace"))[-self._half :]
        return Captured(f"{head}{CUT}{tail}", self.length, self._hash.hexdigest(), truncated=True)
