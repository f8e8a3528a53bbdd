"""What somebody finds in a list is what policy lets them view: row by row, for everyone, whoever asks.

Every service's tables are filled with things of two tenants, three environments and four clearances; then people with
any mixture of rights look at them, through the services' own handlers and, past these, at the bare tables.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.database import Database, Tx
from libs.common.errors import Denied, NotFound
from libs.common.ids import new_id
from libs.common.outbox import Outbox
from libs.common.policy import ALL, SYSTEM_TENANTS, Principal, Resource, decide
from libs.common.rpc import Caller
from libs.common.sight import Sight, narrow
from libs.runbook.frame import Frame
from services.approvals.commands import GetApproval, ListApprovals
from services.approvals.looking import Looking
from services.executor import views
from services.executor.commands import GetExecution, ListExecutions
from services.incident.commands import GetIncident, ListIncidents
from services.incident.storage import Storage
from services.incident.usecases import UseCases as Incidents
from services.timeline.handlers import ListEntries, LogDesk
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

TENANTS: Final = ("acme", "globex")
ENVIRONMENTS: Final = ("", "prod", "dev")
ROLES: Final = ("viewer", "operator", "approver", "alerting", "admin", "auditor")
CASE: Final = "0192f0c1-0000-7000-8000-00000000000a"


@dataclass(frozen=True)
class Thing:
    """A row that somebody may see or not."""

    id: str
    tenant: str
    environment: str
    clearance: int


THINGS: Final = [
    Thing(new_id(), tenant, environment, clearance)
    for tenant in TENANTS
    for environment in ENVIRONMENTS
    for clearance in range(4)
]
Look = Callable[[Tx, Caller], Awaitable[set[str]]]


@dataclass(frozen=True)
class Shelf:
    """One kind of things: where they stand, and how people list and open them."""

    service: str
    table: str
    key: str
    action: str
    kind: str
    listed: Look
    opened: Callable[[Tx, Caller, str], Awaitable[Any]] | None


async def _incidents(tx: Tx, caller: Caller) -> set[str]:
    found = await INCIDENTS.page(_store(tx), caller, ListIncidents(limit=100))
    return {item["incident_id"] for item in found["items"]}


async def _incident(tx: Tx, caller: Caller, name: str) -> Any:
    return await INCIDENTS.show(_store(tx), caller, GetIncident(incident_id=name))


async def _executions(tx: Tx, caller: Caller) -> set[str]:
    found = await views.list_executions(tx, caller, ListExecutions(limit=100))
    return {item["execution_id"] for item in found["items"]}


async def _execution(tx: Tx, caller: Caller, name: str) -> Any:
    return await views.get_execution(tx, caller, GetExecution(execution_id=name))


async def _approvals(tx: Tx, caller: Caller) -> set[str]:
    found = await APPROVALS.page(tx, caller, ListApprovals(limit=100))
    return {item["approval_id"] for item in found["items"]}


async def _approval(tx: Tx, caller: Caller, name: str) -> Any:
    return await APPROVALS.show(tx, caller, GetApproval(approval_id=name))


async def _entries(tx: Tx, caller: Caller) -> set[str]:
    desk = LogDesk.__new__(LogDesk)  # listing asks nothing of the writer
    found = await desk.list_entries(tx, caller, ListEntries(incident_id=CASE, limit=100))
    return {item["event_id"] for item in found["entries"]}


def _store(tx: Tx) -> Storage:
    return Storage(tx, Outbox("incident", "incident"))


INCIDENTS: Final = Incidents.__new__(Incidents)
APPROVALS: Final = Looking.__new__(Looking)
SHELVES: Final = {
    shelf.table: shelf
    for shelf in (
        Shelf("incident", "incident", "incident_id", "incident.view", "incident", _incidents, _incident),
        Shelf("executor", "execution", "execution_id", "execution.view", "execution", _executions, _execution),
        Shelf("approvals", "approval", "approval_id", "approval.view", "approval", _approvals, _approval),
        Shelf("timeline", "payload", "event_id", "timeline.view", "incident", _entries, None),
        Shelf("timeline", "entry", "event_id", "timeline.view", "incident", _entries, None),
    )
}


def _subset(names: tuple[str, ...], *, least: int = 0) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(names), min_size=least)


PEOPLE: Final = st.builds(
    Principal,
    actor=st.just("ada"),
    tenants=st.one_of(_subset(TENANTS, least=1), st.just(SYSTEM_TENANTS)),
    roles=_subset(ROLES),
    environments=st.one_of(_subset(("prod", "dev")), st.just(ALL)),
    clearance=st.integers(0, 3),
)


@pytest.fixture(params=SHELVES)
async def shelf(request: pytest.FixtureRequest, stack_env: StackEnv) -> AsyncIterator[tuple[Shelf, Database]]:
    """A filled table, and its service's way to it."""
    found = SHELVES[request.param]
    admin = await asyncpg.connect(stack_env["RR_POSTGRES_URL"], server_settings={"search_path": found.service})
    try:
        for thing in THINGS:
            await _fill(admin, found, thing)
    finally:
        await admin.close()
    url = stack_env.service(found.service)["RR_POSTGRES_URL"]
    database = Database(url, schema=found.service, instance="lists", pool_size=2)
    await database.open()
    yield found, database
    await database.close()


async def _fill(admin: asyncpg.Connection[asyncpg.Record], shelf: Shelf, thing: Thing) -> None:
    """A row that says who may see it; every other column that must hold something holds anything."""
    wanted: dict[str, Any] = {
        "tenant_id": thing.tenant,
        "environment": thing.environment,
        "clearance": thing.clearance,
        shelf.key: thing.id,
        "incident_id": CASE if shelf.key != "incident_id" else thing.id,
    }
    if shelf.service == "timeline":  # beside a row of `payload`, as an older writer adds it, there is an entry at once
        wanted["index"] = THINGS.index(thing)
        leaf = "INSERT INTO leaf (index, kind, leaf, event_hash, stream, epoch, seq, source, event_id)"
        place = (wanted["index"], b"{}", bytes(32), wanted["index"] + 1, thing.id)
        await admin.execute(f"{leaf} VALUES ($1, 'event', $2, $3, 'EVENTS', 1, $4, '/svc/incident', $5)", *place)
    if shelf.table == "execution":
        wanted["frame"] = orjson.dumps(Frame().to_json()).decode()
    wanted |= {"fingerprint": thing.id, "status": "new", "severity": "high", "risk": "low"}
    wanted["state"] = "requested" if shelf.table == "approval" else "running"
    rows = await admin.fetch(
        "SELECT column_name, data_type, is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO' AS needed"
        " FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2",
        shelf.service,
        shelf.table,
    )
    values = {
        row["column_name"]: _value(row["data_type"], wanted.get(row["column_name"]))
        for row in rows
        if row["needed"] or row["column_name"] in wanted
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    names = ", ".join(f'"{name}"' for name in values)
    await admin.execute(f"INSERT INTO {shelf.table} ({names}) VALUES ({places})", *values.values())


def _value(kind: str, wanted: Any) -> Any:
    if wanted is not None:
        return uuid.UUID(wanted) if kind == "uuid" else wanted
    anything: dict[str, Any] = {
        "text": "x",
        "uuid": uuid.uuid4(),
        "jsonb": "{}",
        "ARRAY": [],
        "bytea": b"{}",
        "boolean": False,
        "timestamp with time zone": datetime.now(UTC),
        "tsvector": "",
    }
    return anything.get(kind, 1)


async def test_a_row_is_in_the_list_exactly_if_it_may_be_viewed(shelf: tuple[Shelf, Database]) -> None:
    found, database = shelf
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(PEOPLE, st.sampled_from(TENANTS))
    def whoever(principal: Principal, tenant: str) -> None:
        asyncio.run_coroutine_threadsafe(_compared(found, database, principal, tenant), loop).result(30)

    await asyncio.to_thread(whoever)


async def _compared(shelf: Shelf, database: Database, principal: Principal, tenant: str) -> None:
    caller = Caller(principal, tenant, new_id())
    viewable = {
        thing.id
        for thing in THINGS
        if thing.tenant == tenant and (await decide(principal, shelf.action, _resource(shelf, thing))).allow
    }
    assert await _listed(shelf, database, caller) == viewable
    seen = await _bare(shelf, database, caller)
    assert viewable <= seen
    assert seen == {thing.id for thing in THINGS if _by_attributes(principal, tenant, thing)}
    if shelf.opened is not None:
        for thing in THINGS[:: len(TENANTS)]:
            assert await _opens(shelf, database, caller, thing) == (thing.id in viewable), thing


def _resource(shelf: Shelf, thing: Thing) -> Resource:
    return Resource(shelf.kind, thing.id, thing.tenant, environment=thing.environment, clearance=thing.clearance)


def _by_attributes(principal: Principal, tenant: str, thing: Thing) -> bool:
    """What the tables' own rules show, whatever the role: the second layer."""
    everywhere = principal.tenants == SYSTEM_TENANTS
    home = everywhere or (thing.tenant == tenant and tenant in principal.tenants)
    near = not thing.environment or principal.environments == ALL or thing.environment in principal.environments
    return home and near and thing.clearance <= principal.clearance


async def _listed(shelf: Shelf, database: Database, caller: Caller) -> set[str]:
    async with database.transaction("list", snapshot=True) as tx:
        await narrow(tx, Sight.of(caller.principal, caller.tenant, changes=False))
        try:
            return await shelf.listed(tx, caller)
        except Denied:
            return set()


async def _bare(shelf: Shelf, database: Database, caller: Caller) -> set[str]:
    """Every row of the table, without a condition."""
    async with database.transaction("look", snapshot=True) as tx:
        await narrow(tx, Sight.of(caller.principal, caller.tenant, changes=False))
        return {str(row[0]) for row in await tx.fetch(f"SELECT {shelf.key} FROM {shelf.table}")}


async def _opens(shelf: Shelf, database: Database, caller: Caller, thing: Thing) -> bool:
    assert shelf.opened is not None
    async with database.transaction("open", snapshot=True) as tx:
        await narrow(tx, Sight.of(caller.principal, caller.tenant, changes=False))
        try:
            await shelf.opened(tx, caller, thing.id)
        except (NotFound, Denied):
            return False
    return True


async def test_the_lists_own_clause_holds_without_the_tables_rules(shelf: tuple[Shelf, Database]) -> None:
    """Both layers hold by themselves: here the transaction sees everything, and the list is the same."""
    found, database = shelf
    dora = Principal("dora", frozenset({"acme"}), frozenset({"viewer"}), environments=frozenset({"dev"}), clearance=1)
    expected = {
        thing.id
        for thing in THINGS
        if thing.tenant == "acme" and thing.environment in {"", "dev"} and thing.clearance <= 1
    }

    async with database.transaction("list", snapshot=True) as tx:
        assert await found.listed(tx, Caller(dora, "acme", new_id())) == expected


async def test_a_session_that_says_nothing_sees_nothing_and_writes_nothing(
    shelf: tuple[Shelf, Database], stack_env: StackEnv
) -> None:
    found, _ = shelf
    url = stack_env.service(found.service)["RR_POSTGRES_URL"]
    silent = await asyncpg.connect(url, server_settings={"search_path": found.service})
    try:
        assert await silent.fetch(f"SELECT 1 FROM {found.table}") == []
        assert await silent.fetchval(
            "SELECT bool_and(relrowsecurity AND (relforcerowsecurity OR relowner::regrole::text <> $3)) FROM pg_class"
            " WHERE relname = $1 AND relnamespace = $2::regnamespace",
            found.table,
            found.service,
            f"rr_{found.service}",
        )
        for name, value in {"tenant": "acme", "environments": "*", "clearance": "3"}.items():
            await silent.execute("SELECT set_config($1, $2, false)", f"rr.{name}", value)
        assert len(await silent.fetch(f"SELECT 1 FROM {found.table}")) == len(THINGS) / len(TENANTS)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await silent.execute(f"UPDATE {found.table} SET tenant_id = 'globex'")
    finally:
        await silent.close()
