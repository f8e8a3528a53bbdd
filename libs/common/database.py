"""Postgres: one asyncpg pool a process, transactions with a name, and which errors pass by themselves.

Tables are described with SQLAlchemy (for migrations and their drift test); what runs is SQL in `storage.py`, one round
trip a batch (docs/decisions/0002).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import asyncpg
from asyncpg.pgproto.pgproto import UUID
from asyncpg.pool import PoolConnectionProxy

from libs.common import telemetry

Tx: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""A connection inside a transaction."""

Uuid: TypeAlias = UUID
"""An id as a parameter: a `uuid.UUID` of the driver's own making, which is made and told at a fifth of the cost."""

if TYPE_CHECKING:
    _Driven: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # as it is when it runs
    _Driven = asyncpg.Connection

Isolation: TypeAlias = Literal["repeatable_read", "read_committed"]

SEES_ALL: Final = {"rr.tenant": "*", "rr.environments": "*", "rr.clearance": "3"}
"""What row-level security goes by (`sight.py`): a service's own work sees everything."""
TRANSIENT: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the client makes of a session that was cut in mid-protocol
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    ConnectionError,
    OSError,
    TimeoutError,
)
"""Errors that say nothing about the work itself: it is done again when the server is back."""

_WHOLE_TABLES: Final = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin")
"""How plans read more of a table than the rows that are asked for."""


class _Connection(_Driven):
    """One that knows whether it was left between describing a statement and carrying it out.

    The driver says nothing to the server then: a transaction stays open there, unknown to anybody here, with its locks
    and its moment, and the next one that wants a moment of its own is refused.
    """

    __slots__ = ("left_open",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.left_open = False

    async def _get_statement(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._get_statement(*args, **kwargs)  # type: ignore[misc] # the driver's own
        except BaseException:
            self.left_open = True
            raise


async def _as_it_was(connection: Any) -> None:
    """What is left to do when a connection comes back: nothing, its transaction is over (the driver sees to that),
    unless whoever had it was cancelled between two messages.

    The driver's own way asks the server to forget whatever a session may hold: a round trip, and a tenth of a
    millisecond of the server's, for every transaction. Nothing here sets a session's state on a pooled connection:
    settings are `SET LOCAL`, locks are a transaction's, and who listens or locks for longer has a dedicated one.
    """
    if connection.left_open:
        await connection.execute("SELECT")
        connection.left_open = False


class Database:
    """The pool of one schema. Every method waits at most `timeout` seconds for a connection.

    `by_key`: all that is asked finds its rows by an index. A prepared statement keeps the plan of its first executions,
    and while a table is small, or not analyzed yet, that is one that reads all of it: then it costs more with each row.
    """

    def __init__(
        self, url: str, *, schema: str, instance: str, pool_size: int, timeout: float = 10.0, by_key: bool = False
    ) -> None:
        self.schema = schema
        self._url = url
        self._instance = instance
        self._size = pool_size
        self._timeout = timeout
        self._by_key = by_key
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Open the pool with one connection.

        Raises:
            OSError, asyncpg.PostgresError: the server is not there, or does not know this role.
        """
        plans = dict.fromkeys(_WHOLE_TABLES, "off") if self._by_key else {}
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._size,
            timeout=self._timeout,
            command_timeout=30,
            reset=_as_it_was,
            connection_class=_Connection,
            server_settings={"application_name": self._instance, "search_path": self.schema, **SEES_ALL, **plans},
        )

    async def close(self) -> None:
        """Close every connection; open transactions are rolled back by the server."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), 3)
            except TimeoutError:
                pool.terminate()

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The open pool."""
        if self._pool is None:
            raise asyncpg.InterfaceError("the database is not open yet")
        return self._pool

    @asynccontextmanager
    async def transaction(self, name: str, *, parent: str = "", snapshot: bool = False) -> AsyncIterator[Tx]:
        """One transaction; leaving by an exception rolls back.

        Read committed; with `snapshot` it only reads, and all its statements see the same moment.
        `name` names its span, which belongs to the trace of `parent` or of the current span; without either there is
        none.
        """
        with self._span(name, parent):
            async with self.pool.acquire(timeout=self._timeout) as connection:
                isolation: Isolation = "repeatable_read" if snapshot else "read_committed"
                async with connection.transaction(isolation=isolation, readonly=snapshot):
                    yield connection

    @asynccontextmanager
    async def begun(self, name: str, statement: str, *, parent: str = "") -> AsyncIterator[tuple[Tx, str]]:
        """A `transaction` whose first statement, which takes no parameters, goes out with its beginning: a round trip
        less. Also gives the statement's command tag, which counts its rows.

        There are no transactions inside of it.
        """
        with self._span(name, parent):
            async with self.pool.acquire(timeout=self._timeout) as connection:
                try:
                    tag = await connection.execute(f"BEGIN; {statement}")
                    yield connection, tag
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("ROLLBACK")
                    raise
                await connection.execute("COMMIT")

    def _span(self, name: str, parent: str) -> AbstractContextManager[object]:
        if not parent and not telemetry.traceparent():
            return nullcontext()
        attributes = {"db.system": "postgresql", "db.namespace": self.schema}
        return telemetry.span(f"db {name}", parent=parent, attributes=attributes)

    async def dedicated(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of one's own, for LISTEN or a session's lock; the caller closes it."""
        return await asyncpg.connect(
            self._url,
            timeout=self._timeout,
            server_settings={"application_name": f"{self._instance} own", "search_path": self.schema, **SEES_ALL},
        )

    async def ping(self) -> None:
        """One round trip.

        Raises:
            Exception: whatever is wrong, within two seconds.
        """
        async with asyncio.timeout(2), self.pool.acquire() as connection:
            await connection.fetchval("SELECT 1")


async def patiently(work: Callable[[], Awaitable[None]], *, waiting: Callable[[BaseException], None]) -> None:
    """Do `work`, again after 0.1 to 2 seconds while it fails with a `TRANSIENT` error; `waiting` hears of each."""
    delay = 0.1
    while True:
        try:
            return await work()
        except TRANSIENT as error:
            waiting(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)
