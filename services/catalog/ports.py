"""What the use cases need of a store. Everything happens inside the caller's transaction."""

from collections.abc import Collection, Sequence
from typing import Protocol

from services.catalog.model import Draft, Header, Listed, Match, Published, Triggered


class Catalog(Protocol):
    """Drafts, published versions and matches."""

    async def lock(self, tenant: str, runbook_id: str) -> Header | None:
        """The latest version, None if there is none; nobody else publishes this runbook until the transaction ends."""

    async def add(self, version: Published, *, triggered: bool) -> None:
        """Store the version after the latest; it can never be changed. `lock` comes first."""

    async def find(self, tenant: str, runbook_id: str, version: int | None) -> Published | None:
        """That version, or the latest; None if there is none."""

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[Listed]:
        """Latest versions and drafts in the order of ids, from the first id after `after`."""

    async def save_draft(self, draft: Draft) -> None:
        """Store the runbook's draft, over an earlier one."""

    async def draft(self, tenant: str, runbook_id: str, *, hold: bool = False) -> Draft | None:
        """The runbook's draft, None if there is none; with `hold` it stays as it is until the transaction ends."""

    async def drop_draft(self, tenant: str, runbook_id: str) -> None:
        """The draft is published."""

    async def triggered(self, tenants: Collection[str]) -> Sequence[Triggered]:
        """The latest version of each of these tenants' runbooks that has triggers."""

    async def claim(self, matches: Sequence[Match]) -> frozenset[str]:
        """Store each match whose incident has none yet; returns the ids of those stored."""
