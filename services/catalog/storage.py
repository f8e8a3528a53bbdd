"""The catalog's rows. One round trip a call; parsed specs are kept in memory, since a version never changes."""

from collections.abc import Collection, Sequence
from typing import Final

import asyncpg
import orjson

from libs.common.database import Tx, Uuid
from libs.runbook.spec import Runbook
from services.catalog.model import Draft, DraftHeader, Header, Listed, Match, Published, Triggered

KEPT: Final = 2_000
Key = tuple[str, str, int]

_ENSURE: Final = """
INSERT INTO runbook (tenant_id, runbook_id, version, triggered) VALUES ($1, $2, 0, false) ON CONFLICT DO NOTHING
"""
_WRITTEN: Final = "tenant_id, runbook_id, version, spec_hash, name, risk, mode, tags, published_by, published_at"
_HEADER: Final = f"{_WRITTEN}, coalesce(author, published_by) AS author"
_LOCK: Final = "SELECT version FROM runbook WHERE tenant_id = $1 AND runbook_id = $2 FOR UPDATE"
_ADD: Final = f"""
WITH head AS (
  UPDATE runbook SET version = $3, triggered = $13 WHERE tenant_id = $1 AND runbook_id = $2 AND version = $3 - 1
  RETURNING 1)
INSERT INTO runbook_version ({_WRITTEN}, spec, source, author)
SELECT $1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11::jsonb, $12, $14 FROM head RETURNING version
"""
_FIND: Final = f"""
SELECT {_HEADER}, spec, source FROM runbook_version WHERE tenant_id = $1 AND runbook_id = $2
  AND version = coalesce($3, (SELECT version FROM runbook WHERE tenant_id = $1 AND runbook_id = $2))
"""
_PAGE: Final = """
WITH wanted AS (
  SELECT runbook_id FROM runbook WHERE tenant_id = $1 AND runbook_id > $2 AND version > 0
  UNION SELECT runbook_id FROM runbook_draft WHERE tenant_id = $1 AND runbook_id > $2
  ORDER BY runbook_id LIMIT $3)
SELECT runbook_id FROM wanted
"""
_LATEST: Final = f"""
SELECT {_HEADER} FROM runbook JOIN runbook_version USING (tenant_id, runbook_id, version)
WHERE tenant_id = $1 AND runbook_id = ANY($2::text[])
"""
_DRAFT: Final = "tenant_id, runbook_id, spec_hash, name, risk, mode, tags, author, saved_at"
_DRAFTS: Final = f"SELECT {_DRAFT} FROM runbook_draft WHERE tenant_id = $1 AND runbook_id = ANY($2::text[])"
_SAVE_DRAFT: Final = f"""
INSERT INTO runbook_draft ({_DRAFT}, source) VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10)
ON CONFLICT (tenant_id, runbook_id) DO UPDATE SET spec_hash = excluded.spec_hash, name = excluded.name,
  risk = excluded.risk, mode = excluded.mode, tags = excluded.tags, author = excluded.author,
  saved_at = excluded.saved_at, source = excluded.source
"""
_FIND_DRAFT: Final = f"""
SELECT {_DRAFT}, source FROM runbook_draft WHERE tenant_id = $1 AND runbook_id = $2
"""
_DROP_DRAFT: Final = "DELETE FROM runbook_draft WHERE tenant_id = $1 AND runbook_id = $2"
_HEADS: Final = "SELECT tenant_id, runbook_id, version FROM runbook WHERE triggered AND tenant_id = ANY($1::text[])"
_SPECS: Final = """
SELECT tenant_id, runbook_id, version, spec_hash, spec FROM runbook_version
JOIN unnest($1::text[], $2::text[], $3::integer[]) AS t(tenant_id, runbook_id, version)
  USING (tenant_id, runbook_id, version)
"""
_CLAIM: Final = """
INSERT INTO match (match_id, tenant_id, incident_id, runbook_id, version, spec_hash, conditions, exact)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::integer[],
  $8::integer[])
ON CONFLICT DO NOTHING RETURNING match_id
"""


class Shelf:
    """Parsed specs of triggered versions, kept by a process from one batch to the next."""

    def __init__(self) -> None:
        self._specs: dict[Key, Triggered] = {}

    def missing(self, keys: Sequence[Key]) -> list[Key]:
        """Which of these are not here."""
        return [key for key in keys if key not in self._specs]

    def put(self, found: Sequence[tuple[Key, Triggered]]) -> None:
        """Keep these; when there are too many, keep only these."""
        if len(self._specs) + len(found) > KEPT:
            self._specs.clear()
        self._specs.update(found)

    def take(self, keys: Sequence[Key]) -> list[Triggered]:
        """These, as far as they are here."""
        return [self._specs[key] for key in keys if key in self._specs]


class PostgresCatalog:
    """`ports.Catalog` inside one transaction."""

    def __init__(self, tx: Tx, shelf: Shelf) -> None:
        self._tx = tx
        self._shelf = shelf

    async def lock(self, tenant: str, runbook_id: str) -> Header | None:
        """See `ports.Catalog`."""
        await self._tx.execute(_ENSURE, tenant, runbook_id)
        number = await self._tx.fetchval(_LOCK, tenant, runbook_id)
        if not number:
            return None
        row = await self._tx.fetchrow(_FIND, tenant, runbook_id, number)
        return _header(row) if row is not None else None

    async def add(self, version: Published, *, triggered: bool) -> None:
        """See `ports.Catalog`."""
        header = version.header
        added = await self._tx.fetchval(
            _ADD,
            header.tenant,
            header.runbook_id,
            header.version,
            header.spec_hash,
            header.name,
            header.risk,
            header.mode,
            orjson.dumps(header.tags).decode(),
            header.published_by,
            header.published_at,
            orjson.dumps(dict(version.spec)).decode(),
            version.source,
            triggered,
            header.author,
        )
        if added is None:
            raise LookupError(f"version {header.version} does not follow the latest of {header.runbook_id}")

    async def find(self, tenant: str, runbook_id: str, version: int | None) -> Published | None:
        """See `ports.Catalog`."""
        row = await self._tx.fetchrow(_FIND, tenant, runbook_id, version)
        return Published(_header(row), orjson.loads(row["spec"]), row["source"]) if row is not None else None

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[Listed]:
        """See `ports.Catalog`. Three round trips."""
        ids = [row["runbook_id"] for row in await self._tx.fetch(_PAGE, tenant, after, limit)]
        latest = {row["runbook_id"]: _header(row) for row in await self._tx.fetch(_LATEST, tenant, ids)}
        drafts = {row["runbook_id"]: _draft(row) for row in await self._tx.fetch(_DRAFTS, tenant, ids)}
        return [Listed(latest.get(name), drafts.get(name)) for name in ids]

    async def save_draft(self, draft: Draft) -> None:
        """See `ports.Catalog`."""
        header = draft.header
        await self._tx.execute(
            _SAVE_DRAFT,
            header.tenant,
            header.runbook_id,
            header.spec_hash,
            header.name,
            header.risk,
            header.mode,
            orjson.dumps(header.tags).decode(),
            header.author,
            header.saved_at,
            draft.source,
        )

    async def draft(self, tenant: str, runbook_id: str, *, hold: bool = False) -> Draft | None:
        """See `ports.Catalog`. Whoever only looks does so in a transaction that may lock nothing."""
        statement = f"{_FIND_DRAFT} FOR UPDATE" if hold else _FIND_DRAFT
        row = await self._tx.fetchrow(statement, tenant, runbook_id)
        return None if row is None else Draft(_draft(row), row["source"])

    async def drop_draft(self, tenant: str, runbook_id: str) -> None:
        """See `ports.Catalog`."""
        await self._tx.execute(_DROP_DRAFT, tenant, runbook_id)

    async def triggered(self, tenants: Collection[str]) -> Sequence[Triggered]:
        """See `ports.Catalog`."""
        heads = [tuple(row) for row in await self._tx.fetch(_HEADS, list(tenants))]
        missing = self._shelf.missing(heads)
        rows = await self._tx.fetch(_SPECS, *map(list, zip(*missing, strict=True))) if missing else []
        parsed = [_triggered(row) for row in rows]
        found = [*self._shelf.take(heads), *(item for _, item in parsed)]
        self._shelf.put(parsed)
        return found

    async def claim(self, matches: Sequence[Match]) -> frozenset[str]:
        """See `ports.Catalog`."""
        if not matches:
            return frozenset()
        rows = [
            (
                Uuid(m.match_id),
                m.tenant,
                m.incident_id,
                m.runbook_id,
                m.version,
                m.spec_hash,
                m.conditions,
                m.exact,
            )
            for m in sorted(matches, key=lambda m: m.match_id)
        ]
        return frozenset(str(row[0]) for row in await self._tx.fetch(_CLAIM, *map(list, zip(*rows, strict=True))))


def _header(row: asyncpg.Record) -> Header:
    return Header(
        tenant=row["tenant_id"],
        runbook_id=row["runbook_id"],
        version=row["version"],
        spec_hash=row["spec_hash"],
        name=row["name"],
        risk=row["risk"],
        mode=row["mode"],
        tags=tuple(orjson.loads(row["tags"])),
        author=row["author"],
        published_by=row["published_by"],
        published_at=row["published_at"],
    )


def _draft(row: asyncpg.Record) -> DraftHeader:
    return DraftHeader(
        tenant=row["tenant_id"],
        runbook_id=row["runbook_id"],
        spec_hash=row["spec_hash"],
        name=row["name"],
        risk=row["risk"],
        mode=row["mode"],
        tags=tuple(orjson.loads(row["tags"])),
        author=row["author"],
        saved_at=row["saved_at"],
    )


def _row(match: Match) -> tuple[object, ...]:
    """In the order of `_CLAIM`."""
    named = (match.tenant, match.incident_id, match.runbook_id, match.version, match.spec_hash)
    return (Uuid(match.match_id), *named, match.conditions, match.exact)


def _triggered(row: asyncpg.Record) -> tuple[Key, Triggered]:
    spec = Runbook.from_json(orjson.loads(row["spec"]))
    key = (row["tenant_id"], row["runbook_id"], row["version"])
    return key, Triggered(row["tenant_id"], row["version"], row["spec_hash"], spec)
