"""Looks at every process's health all the time, and at a bystander's, to tell a slow machine from a slow process."""

import asyncio
import time
from typing import Final

import httpx

from runbook_ranger.chaos.evidence import Look
from runbook_ranger.chaos.place import Place

EVERY_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 1.0


class Watch:
    """Collects looks until cancelled."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.looks: list[Look] = []

    async def run(self) -> None:
        """All processes at once, again and again."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            while True:
                ports = {name: self._place.ports.claim(f"health-{name}") for name in self._place.processes_wanted}
                control, *looks = await asyncio.gather(
                    _look(client, "target", 0, f"{self._place.target_url}/healthz"),
                    *(
                        _look(client, name, self._place.pid(name) or 0, f"http://127.0.0.1:{port}/healthz")
                        for name, port in ports.items()
                    ),
                )
                self.looks += [
                    Look(look.name, look.pid, look.at, look.seconds, look.found, control.seconds) for look in looks
                ]
                await asyncio.sleep(EVERY_SECONDS)


async def _look(client: httpx.AsyncClient, name: str, pid: int, url: str) -> Look:
    at, began = time.time(), time.monotonic()
    try:
        await client.get(url)
    except httpx.TimeoutException:
        return Look(name, pid, at, time.monotonic() - began, "silent")
    except httpx.TransportError:
        return Look(name, pid, at, time.monotonic() - began, "gone")
    return Look(name, pid, at, time.monotonic() - began, "answered")
