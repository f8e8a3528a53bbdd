"""Timeline processes on one stack, which may be told to die at a point, and what they leave in database and store."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from libs.common.database import Database
from libs.common.objectstore import ObjectStore
from runbook_ranger.stack.ports import Ports
from services.timeline import control
from services.timeline.audit import audit
from tests.support import forked
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

ORIGIN = "ranger.test/timeline"


class Place:
    """One stack's log, the folder of its objects, and the processes that were started here."""

    def __init__(self, stack: StackEnv, folder: Path, admin: Any, database: Database) -> None:
        self.admin = admin
        self.database = database
        self.folder = folder
        self.objects = folder / "objects"
        self.store = ObjectStore.open(self.objects.absolute().as_uri())
        self.key = folder / "timeline.key"
        self._stack = stack
        self._ports = Ports.load(folder / "ports.json")
        self._started: list[forked.Process] = []
        self._health: dict[str, int] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: StackEnv, folder: Path) -> AsyncIterator["Place"]:
        admin = await asyncpg.connect(stack["RR_POSTGRES_URL"], server_settings={"search_path": "timeline"})
        url = stack.service("timeline")["RR_POSTGRES_URL"]
        database = Database(url, schema="timeline", instance="test", pool_size=2)
        await database.open()
        place = cls(stack, folder, admin, database)
        try:
            yield place
        finally:
            for process in place._started:
                await end(process)
            await database.close()
            await admin.close()

    async def start(self, name: str = "timeline", **more: str) -> forked.Process:
        """A process of the service, with these variables besides the usual ones."""
        usual = {
            "RR_HEALTH_PORT": str(self.port(name)),
            "RR_INSTANCE": name,
            "RR_TIMELINE_ORIGIN": ORIGIN,
            "RR_TIMELINE_HEARTBEAT_SECONDS": "0",
            "RR_OBJECTS_DIR": str(self.objects),
            **({"RR_TIMELINE_KEY_FILE": str(self.key)} if self.key.exists() else {}),
        }
        process = forked.start("services.timeline", env=os.environ | self._stack.service("timeline", **usual | more))
        self._started.append(process)
        return process

    def port(self, name: str) -> int:
        """Where a process of this name says how it is."""
        return self._health.setdefault(name, self._ports.claim(name))

    async def ask(self, **body: str) -> None:
        async with self.database.transaction("test") as tx:
            await control.ask(tx, ORIGIN, body)

    async def leaves(self) -> list[bytes]:
        return [bytes(row["leaf"]) for row in await self.admin.fetch("SELECT leaf FROM leaf ORDER BY index")]

    async def size(self) -> int:
        return int(await self.admin.fetchval("SELECT count(*) FROM leaf"))

    async def log_of_a_run(self, count: int, **more: str) -> list[bytes]:
        """The log once a process has run until so many leaves are there; it verifies."""
        process = await self.start(**more)

        async def there() -> bool:
            assert process.returncode is None
            return await self.size() >= count

        await eventually(there, timeout=30)
        await end(process)
        assert await audit(self.database) is not None
        return await self.leaves()

    async def forget(self) -> None:
        """The log is gone, as if it had been lost; what it was to say of itself is still to be said."""
        await self.admin.execute("TRUNCATE log_state, leaf, payload, entry, artefact, chain_head")
        await self.admin.execute("UPDATE control SET index = NULL")


async def end(process: forked.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
