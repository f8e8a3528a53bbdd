"""What policy adds to a list: a page of 100 out of 10,000 incidents, as people get it and as the bare query gives it.

Both are answered inside one process, from the same rows, turn by turn. As people get it, the scope is asked of policy,
the transaction is narrowed to the caller, the query has the scope's conditions, and Postgres filters every row once
more. Bare is the same query on the administrator's connection, to which no rule of the tables applies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench.errors import WorkWrong
from bench.figures import Figure, Report, percentile
from bench.limits.servers import Servers
from bench.options import Options
from libs.common.database import Database, Tx
from libs.common.ids import new_id
from libs.common.outbox import Outbox
from libs.common.policy import ALL, RESTRICTED, Principal, Scope
from libs.common.rpc import Caller
from libs.common.sight import Sight, narrow
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.provision import Targets, provision
from runbook_ranger.stack.roles import service_url, with_database
from services.incident import pages
from services.incident.commands import ListIncidents
from services.incident.pages import Wanted
from services.incident.storage import Storage
from services.incident.usecases import UseCases

NAME: Final = "lists"
PAGE: Final = 100
GOAL_TIMES: Final = 2.0
ROLES_SECRET: Final = "only-for-this-bench"  # noqa: S105 — of servers that live for a minute
EVERYTHING: Final = Scope(allow=True, tenants=ALL, environments=ALL, max_clearance=RESTRICTED)
ADA: Final = Principal(
    "ada", frozenset({"default"}), frozenset({"operator"}), environments=frozenset({"prod", "dev"}), clearance=2
)
_FILL: Final = """
INSERT INTO incident (tenant_id, incident_id, fingerprint, version, title, alert_name, severity, status, labels,
  annotations, firing, created_at, opened_at, updated_at, environment, clearance)
SELECT CASE WHEN n % 5 = 0 THEN 'others' ELSE 'default' END,
  (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, '', 1, 'slow ' || n, 'slow', 'high', 'new', '{}', '{}', 0,
  now(), now(), now(), (ARRAY['', 'prod', 'dev', 'lab'])[1 + n % 4], n % 4
FROM generate_series(1, $1) AS n
"""


def run(options: Options) -> Report:
    """The bench."""
    with Servers() as servers:
        options.measured(servers.pids())
        return asyncio.run(_measure(options, servers))


async def _measure(options: Options, servers: Servers) -> Report:
    url = with_database(servers.environment()["LIMIT_PG"], "ranger")
    await provision(Targets(url, role_secret=ROLES_SECRET))
    await migrate(url)
    count = options.pick(10_000, 10_000, 500)
    bare = Database(url, schema="incident", instance="bench bare", pool_size=1)
    asked = Database(service_url(url, "incident", ROLES_SECRET), schema="incident", instance="bench", pool_size=1)
    await bare.open()
    await asked.open()
    try:
        await bare.pool.execute(_FILL, count)
        await bare.pool.execute("ANALYZE incident")
        return await _rounds(options, count, bare, asked)
    finally:
        await bare.close()
        await asked.close()


async def _rounds(options: Options, count: int, bare: Database, asked: Database) -> Report:
    rounds, size = options.pick(5, 5, 2), options.pick(400, 150, 10)
    with_policy: list[list[float]] = []
    without: list[list[float]] = []
    for _ in range(rounds + 1):  # the first warms up
        one: tuple[list[float], list[float]] = ([], [])
        for _ in range(size):
            one[0].append(await _timed(lambda: _listed(asked)))
            one[1].append(await _timed(lambda: _plain(bare)))
        with_policy.append(one[0])
        without.append(one[1])
    figures = tuple(
        Figure(f"list of {PAGE}, {name}", "ms", tuple(percentile(each, point) for each in with_policy[1:]),
               lower_is_better=True, goal_ratio=GOAL_TIMES if point == 0.5 else None,
               limit=tuple(percentile(each, point) for each in without[1:]), limit_name="without policy")
        for name, point in (("median", 0.5), ("p95", 0.95))
    )  # fmt: skip
    return Report(NAME, figures, {"incidents": count, "lists": 2 * rounds * size}, notes={"page": PAGE})


async def _timed(work: Callable[[], Awaitable[int]]) -> float:
    """Milliseconds.

    Raises:
        WorkWrong: the page is not full.
    """
    began = time.perf_counter()
    found = await work()
    took = (time.perf_counter() - began) * 1000
    if found != PAGE:
        raise WorkWrong(f"a page of {found} incidents instead of {PAGE}")
    return took


async def _listed(database: Database) -> int:
    """As `rpc.incident.list` answers."""
    caller = Caller(ADA, "default", new_id())
    async with database.transaction("list", snapshot=True) as tx:
        await narrow(tx, Sight.of(caller.principal, caller.tenant, changes=False))
        found = await _USECASES.page(_store(tx), caller, ListIncidents(limit=PAGE))
    return len(found["items"])


async def _plain(database: Database) -> int:
    async with database.transaction("list", snapshot=True) as tx:
        found = await pages.page(tx, "default", Wanted(seen=EVERYTHING, limit=PAGE))
    return len(found.items)


def _store(tx: Tx) -> Storage:
    return Storage(tx, Outbox("incident", "incident"))


_USECASES: Final = UseCases.__new__(UseCases)  # listing needs none of its means
