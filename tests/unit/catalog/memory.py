"""A catalog in memory that keeps the promises of `ports.Catalog`, for tests of the use cases."""

from collections.abc import Collection, Sequence

from libs.runbook.spec import Runbook
from services.catalog.model import Draft, Header, Listed, Match, Published, Triggered


class MemoryCatalog:
    """One transaction after another, so that `lock` has nobody to wait for."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], list[Published]] = {}
        self.with_triggers: dict[tuple[str, str], bool] = {}
        self.drafts: dict[tuple[str, str], Draft] = {}
        self.matches: dict[tuple[str, str], Match] = {}

    async def lock(self, tenant: str, runbook_id: str) -> Header | None:
        versions = self.versions.get((tenant, runbook_id))
        return versions[-1].header if versions else None

    async def add(self, version: Published, *, triggered: bool) -> None:
        key = (version.header.tenant, version.header.runbook_id)
        versions = self.versions.setdefault(key, [])
        if version.header.version != len(versions) + 1:
            raise LookupError(f"version {version.header.version} does not follow {len(versions)}")
        versions.append(version)
        self.with_triggers[key] = triggered

    async def find(self, tenant: str, runbook_id: str, version: int | None) -> Published | None:
        versions = self.versions.get((tenant, runbook_id), [])
        number = version or len(versions)
        return versions[number - 1] if 0 < number <= len(versions) else None

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[Listed]:
        keys = sorted(key for key in self.versions.keys() | self.drafts if key[0] == tenant and key[1] > after)
        return [self._listed(key) for key in keys[:limit]]

    def _listed(self, key: tuple[str, str]) -> Listed:
        versions, draft = self.versions.get(key), self.drafts.get(key)
        return Listed(versions[-1].header if versions else None, draft.header if draft else None)

    async def save_draft(self, draft: Draft) -> None:
        self.drafts[draft.header.tenant, draft.header.runbook_id] = draft

    async def draft(self, tenant: str, runbook_id: str, *, hold: bool = False) -> Draft | None:  # noqa: ARG002
        return self.drafts.get((tenant, runbook_id))

    async def drop_draft(self, tenant: str, runbook_id: str) -> None:
        self.drafts.pop((tenant, runbook_id), None)

    async def triggered(self, tenants: Collection[str]) -> Sequence[Triggered]:
        latest = [
            versions[-1] for key, versions in self.versions.items() if key[0] in tenants and self.with_triggers[key]
        ]
        return [
            Triggered(v.header.tenant, v.header.version, v.header.spec_hash, Runbook.from_json(v.spec)) for v in latest
        ]

    async def claim(self, matches: Sequence[Match]) -> frozenset[str]:
        new = [match for match in matches if (match.tenant, match.incident_id) not in self.matches]
        self.matches.update({(match.tenant, match.incident_id): match for match in new})
        return frozenset(match.match_id for match in new)
