"""What a person reads from the target's ledger."""

import asyncio
from typing import Final

import httpx

LOOK_SECONDS: Final = 0.3
ENTRIES: Final = ("calls", "effects", "replays", "refused")


async def took_effect(target: httpx.AsyncClient, key: str | None) -> bool:
    """Whether the ledger has an effect under this key, as soon as every call under it has come to its end."""
    while True:
        ledger = (await target.get("/ledger")).json()
        own = {kind: {entry["call"] for entry in ledger[kind] if entry["key"] == key} for kind in ENTRIES}
        if own["calls"] <= own["effects"] | own["replays"] | own["refused"]:
            return bool(own["effects"])
        await asyncio.sleep(LOOK_SECONDS)
