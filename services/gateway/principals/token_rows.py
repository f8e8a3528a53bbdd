"""Rows of `api_token`: SQL, one statement a question."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import asyncpg

from libs.common.clock import rfc3339
from libs.common.database import Database, Tx
from libs.common.policy import Principal

CHANNEL: Final = "api_token"
"""Notified in the transaction that changes a token."""

_COLUMNS: Final = (
    "token_id, tenant_id, owner, kind, name, digest, tenants, roles, scopes, environments, groups, clearance,"
    " made_with, created_at, expires_at, revoked_at, revoked_by, last_used_at"
)
_INSERT: Final = f"""
WITH added AS (
  INSERT INTO api_token ({_COLUMNS})
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, NULL, NULL, NULL) RETURNING 1)
SELECT pg_notify('{CHANNEL}', '') FROM added
"""
_REVOKE: Final = f"""
WITH RECURSIVE made AS (
  SELECT token_id, NULL::uuid AS because_of FROM api_token WHERE token_id = $1
  UNION SELECT t.token_id, made.token_id FROM api_token t JOIN made ON t.made_with = made.token_id),
ended AS (
  UPDATE api_token SET revoked_at = $2, revoked_by = $3 FROM made
  WHERE api_token.token_id = made.token_id AND revoked_at IS NULL
  RETURNING api_token.token_id, api_token.owner, made.because_of)
SELECT token_id, owner, because_of, pg_notify('{CHANNEL}', '') FROM ended ORDER BY token_id
"""
_LISTED: Final = f"""
SELECT {_COLUMNS} FROM api_token
WHERE ($1::text IS NULL OR owner = $1) AND ($2::text[] IS NULL OR tenants <@ $2)
  AND ($3::text IS NULL OR $3 = ANY(tenants)) AND ($4::uuid IS NULL OR token_id < $4)
ORDER BY token_id DESC LIMIT $5
"""
_USED: Final = """
UPDATE api_token SET last_used_at = t.at FROM unnest($1::uuid[], $2::timestamptz[]) AS t(id, at)
WHERE token_id = t.id AND (last_used_at IS NULL OR last_used_at < t.at)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One token. Its secret is not here, and cannot be."""

    token_id: str
    tenant: str
    principal: Principal
    name: str
    digest: bytes
    created_at: datetime
    expires_at: datetime
    made_with: str | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None

    @classmethod
    def of(cls, record: asyncpg.Record) -> Self:
        """What the database holds."""
        principal = Principal(
            record["owner"],
            frozenset(record["tenants"]),
            frozenset(record["roles"]),
            kind=record["kind"],
            environments=frozenset(record["environments"]),
            clearance=record["clearance"],
            groups=frozenset(record["groups"]),
            scopes=frozenset(record["scopes"]),
        )
        return cls(
            token_id=str(record["token_id"]),
            tenant=record["tenant_id"],
            principal=principal,
            name=record["name"],
            digest=bytes(record["digest"]),
            created_at=record["created_at"],
            expires_at=record["expires_at"],
            made_with=str(record["made_with"]) if record["made_with"] else None,
            revoked_at=record["revoked_at"],
            revoked_by=record["revoked_by"],
            last_used_at=record["last_used_at"],
        )

    def shown(self, now: datetime) -> dict[str, Any]:
        """As answers show it; `state` is live, expired or revoked."""
        state = "revoked" if self.revoked_at else "expired" if self.expires_at <= now else "live"
        return {
            "token_id": self.token_id,
            "name": self.name,
            "state": state,
            "owner": self.principal.actor,
            "tenants": sorted(self.principal.tenants),
            "roles": sorted(self.principal.roles),
            "scopes": sorted(self.principal.scopes),
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at),
            "last_used_at": rfc3339(self.last_used_at) if self.last_used_at else None,
            "made_with": self.made_with,
            "revoked_at": rfc3339(self.revoked_at) if self.revoked_at else None,
            "revoked_by": self.revoked_by,
        }


async def by_id(database: Database, token_id: str) -> Row | None:
    """One token."""
    record = await database.pool.fetchrow(f"SELECT {_COLUMNS} FROM api_token WHERE token_id = $1", uuid.UUID(token_id))
    return Row.of(record) if record is not None else None


async def mark_used(database: Database, used: Mapping[str, datetime]) -> None:
    """Note when tokens were last used; an earlier moment changes nothing."""
    await database.pool.execute(_USED, [uuid.UUID(token) for token in used], list(used.values()))


async def add(tx: Tx, row: Row) -> None:
    """Keep a new token."""
    principal = row.principal
    await tx.fetchval(
        _INSERT,
        uuid.UUID(row.token_id),
        row.tenant,
        principal.actor,
        principal.kind,
        row.name,
        row.digest,
        sorted(principal.tenants),
        sorted(principal.roles),
        sorted(principal.scopes),
        sorted(principal.environments),
        sorted(principal.groups),
        principal.clearance,
        uuid.UUID(row.made_with) if row.made_with else None,
        row.created_at,
        row.expires_at,
    )


async def held(tx: Tx, token_id: str) -> Row | None:
    """One token, locked until the transaction ends."""
    query = f"SELECT {_COLUMNS} FROM api_token WHERE token_id = $1 FOR UPDATE"
    record = await tx.fetchrow(query, uuid.UUID(token_id))
    return Row.of(record) if record is not None else None


async def live_of(tx: Tx, owner: str, now: datetime) -> int:
    """How many tokens of an owner open anything."""
    count: int = await tx.fetchval(
        "SELECT count(*) FROM api_token WHERE owner = $1 AND revoked_at IS NULL AND expires_at > $2", owner, now
    )
    return count


async def revoke(tx: Tx, token_id: str, *, by: str, now: datetime) -> Sequence[tuple[str, str, str | None]]:
    """End a token and whatever was made with it: (id, owner, the one that it was made with) of those that lived."""
    rows = await tx.fetch(_REVOKE, uuid.UUID(token_id), now, by)
    return [(str(row["token_id"]), row["owner"], str(row["because_of"]) if row["because_of"] else None) for row in rows]


async def listed(
    tx: Tx, *, owner: str | None, within: Sequence[str] | None, tenant: str | None, after: str | None, limit: int
) -> list[Row]:
    """Tokens, newest first: of an owner, for no tenants but those `within`, for `tenant` among others."""
    rows = await tx.fetch(_LISTED, owner, within, tenant, uuid.UUID(after) if after else None, limit)
    return [Row.of(row) for row in rows]
