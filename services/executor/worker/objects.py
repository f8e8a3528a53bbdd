"""Objects: files under their own SHA-256, for what is too large to stand in rows and facts; those name the hash."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any


class Objects:
    """One folder. The same bytes are the same object, so keeping them again changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, kind: str, data: bytes) -> dict[str, Any]:
        """Write `data`, whole or not at all, and durably; returns its reference: kind, SHA-256 and length.

        Raises:
            OSError: it could not be written.
        """
        digest = hashlib.sha256(data).hexdigest()

        def write() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".{digest}.{os.getpid()}"
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._folder / digest)

        await asyncio.to_thread(write)
        return {"k": kind, "sha256": digest, "len": len(data)}
