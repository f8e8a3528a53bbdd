"""What actions keep: artefacts of their tenant, named by an attempt's evidence and by the fact that tells of it."""

from typing import Any

from libs.common.artefacts import Artefacts


class Objects:
    """The object store, as an attempt sees it."""

    def __init__(self, artefacts: Artefacts) -> None:
        self._artefacts = artefacts

    async def keep(self, tenant: str, kind: str, data: bytes) -> dict[str, Any]:
        """Keep `data`, whole or not at all; returns its reference as evidence has it: kind, SHA-256 and length.

        Raises:
            StoreUnavailable: it may not have been written; keeping it again does no harm.
        """
        ref = await self._artefacts.keep(tenant, kind, data)
        return {"k": ref.kind, "sha256": ref.sha256, "len": ref.length}
