"""What the use cases need of a store. Everything happens inside the caller's transaction."""

from collections.abc import Collection, Sequence
from typing import Protocol

from services.catalog.model import Header, Match, Published, Triggered


class Catalog(Protocol):
    """Published versions and matches."""

    async def lock(self, tenant: str, runbook_id: str) -> Header | None:
        """The latest version, None if there is none; nobody else publishes this runbook until the transaction ends."""

    async def add(self, version: Published, *, triggered: bool) -> None:
        """Store the version after the latest; it can never be changed. `lock` comes first."""

    async def find(self, tenant: str, runbook_id: str, version: int | None) -> Published | None:
        """That version, or the latest; None if there is none."""

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[Header]:
        """Latest versions in the order of ids, from the first id after `after`."""

    async def triggered(self, tenants: Collection[str]) -> Sequence[Triggered]:
        """The latest version of each of these tenants' runbooks that has triggers."""

    async def claim(self, matches: Sequence[Match]) -> frozenset[str]:
        """Store each match whose incident has none yet; returns the ids of those stored."""
