"""Begins runbooks as a person does, over the bus, from a catalog and an incident service that a test fills."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from libs.common.bus import Bus
from libs.common.clock import utc_now
from libs.common.ids import new_id
from libs.common.rpc import RpcClient, RpcServer
from services.executor.commands import StartExecution
from services.executor.planning import Planner
from services.executor.sources import Sources
from services.executor.starting import Starting
from tests.integration.executor.bench import ADA, TENANT, Bench
from tests.integration.executor.neighbours import Neighbours
from tests.support.servers import StackEnv


class Clerk:
    """Asks the executor's `execute`; ada begins."""

    def __init__(self, bench: Bench, client: RpcClient, neighbours: Neighbours) -> None:
        self._bench = bench
        self._client = client
        self.neighbours = neighbours

    async def begin(self, runbook_id: str = "mend", **body: Any) -> dict[str, Any]:
        """The answer."""
        question = {"runbook_id": runbook_id, **body}
        return await self._client.ask(
            "executor", "execute", question, principal=ADA, tenant=TENANT, request_key=new_id()
        )

    async def incident(self, **labels: str) -> str:
        """An incident whose alert fires."""
        incident = new_id()
        self.neighbours.open(incident, alerts=1, **labels)
        await self._bench.fires(incident)
        return incident


@asynccontextmanager
async def clerking(bench: Bench, env: StackEnv) -> AsyncIterator[Clerk]:
    """The verb, served as the executor serves it, with neighbours who answer."""
    bus = Bus(env["RR_NATS_URL"], name="executor-test")
    await bus.connect()
    client = RpcClient(bus, timeout=10.0)
    starting = Starting(Planner(bench.outbox, bench._fetch, utc_now), Sources(client), bench.hints)
    RpcServer(bus, bench.database, "executor").command("execute", StartExecution, starting.start, bench.hints.flush)
    await bus.serve()
    neighbours = Neighbours()
    await neighbours.serve(env["RR_NATS_URL"])
    try:
        yield Clerk(bench, client, neighbours)
    finally:
        await neighbours.close()
        await bus.close()
