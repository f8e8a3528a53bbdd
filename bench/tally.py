"""Looking into the product's database while it works."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import asyncpg

from bench.driver import eventually
from bench.product import Product


class Tally:
    """One connection as administrator; an async context manager."""

    def __init__(self, product: Product) -> None:
        self._url = product.urls.postgres

    async def __aenter__(self) -> Self:
        self._connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self._url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows."""
        return await self._connection.fetch(query, *arguments)

    async def number(self, query: str, *arguments: Any) -> int:
        """The one number that a query yields."""
        return int(await self._connection.fetchval(query, *arguments) or 0)

    async def reaches(self, what: str, query: str, wanted: int, *, seconds: float = 300, every: float = 0.1) -> None:
        """Wait until a query yields at least this number.

        Raises:
            NotInTime: it did not.
        """

        async def enough() -> bool:
            return await self.number(query) >= wanted

        await eventually(f"{what} reach {wanted}", enough, seconds=seconds, every=every)
