"""Making, listing and revoking API tokens: a person's own, and for administrators those of their tenants.

A token speaks for whoever made it, and for nobody else: there is no field for another. It can do no more than the
credential that made it, ends no later than a token that made it, and is revoked with it. The secret is in one answer
and nowhere else: a creation that is repeated with its key is refused, since nobody can show it again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.access import TokenCreated, TokenRevoked
from libs.common.database import Database, Tx
from libs.common.errors import Conflict, Denied, NotFound
from libs.common.outbox import Cause, Outbox
from libs.common.policy import SYSTEM_TENANTS, Principal
from services.gateway.principals import minted, token_rows
from services.gateway.principals.book import TokenBook
from services.gateway.principals.proof import Proof
from services.gateway.principals.scopes import check_narrower, widened
from services.gateway.principals.token_rows import Row

SERVICE: Final = "gateway"
MOST_LIVE: Final = 100
"""Tokens that one owner may have at a time."""
VERB: Final = "token.create"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for; None is as much as the caller has, of tenants the one that is acted for."""

    name: str
    seconds: int
    scopes: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None

    def digest(self, actor: str) -> bytes:
        """What tells the repetition of a request from another request under the same key."""
        said = [VERB, actor, self.name, self.seconds, self.scopes, self.roles, self.tenants]
        return hashlib.sha256(orjson.dumps(said)).digest()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, with what, for which tenant, under which key."""

    proof: Proof
    tenant: str
    request_key: str

    @property
    def principal(self) -> Principal:
        """Whom the credential speaks for."""
        return self.proof.principal

    @property
    def everywhere(self) -> bool:
        """Whether the whole installation is theirs."""
        return self.principal.tenants == SYSTEM_TENANTS


class TokenDesk:
    """Carries out what the routes let through; `book` hears of a change at once."""

    def __init__(self, database: Database, book: TokenBook, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._book = book
        self._outbox = Outbox(SERVICE, database.schema)
        self._clock = clock

    async def create(self, asker: Asker, wanted: Wanted) -> dict[str, Any]:
        """A new token of the asker's own, with `token`, which nobody sees again.

        Raises:
            Denied: it would be wider than the credential, or is asked for with one that makes none.
            Conflict: the key was used before, or there are too many.
        """
        now = self._clock()
        row, text = self._row(asker, wanted, now)
        async with self._database.transaction("create_token") as tx:
            await self._first_time(tx, asker, wanted)
            if await token_rows.live_of(tx, asker.principal.actor, now) >= MOST_LIVE:
                raise Conflict(
                    f"You have {MOST_LIVE} live tokens.",
                    fix="Revoke some that you do not need.",
                    code="too_many_tokens",
                )
            await token_rows.add(tx, row)
            await self._remember(tx, asker, wanted, row)
            await self._tell_created(tx, asker, row, now)
        return {**row.shown(now), "token": text}

    async def page(self, asker: Asker, *, everyone: bool, after: str | None, limit: int) -> dict[str, Any]:
        """The asker's own tokens, or with `everyone` those that open the tenant; newest first."""
        within = None if asker.everywhere else sorted(asker.principal.tenants)
        async with self._database.transaction("list_tokens", snapshot=True) as tx:
            found = await token_rows.listed(
                tx,
                owner=None if everyone else asker.principal.actor,
                within=None if everyone else within,
                tenant=asker.tenant if everyone and not asker.everywhere else None,
                after=after,
                limit=limit + 1,
            )
        now = self._clock()
        items = [row.shown(now) for row in found[:limit]]
        return {"items": items, "next": items[-1]["token_id"] if len(found) > limit else None}

    async def revoke(self, asker: Asker, token_id: str, *, others: bool) -> dict[str, Any]:
        """End a token and those that were made with it; one that is over stays as it is.

        `others`: the asker may end other people's, too.

        Raises:
            NotFound: there is none that the asker may see.
        """
        now = self._clock()
        async with self._database.transaction("revoke_token") as tx:
            row = await token_rows.held(tx, token_id)
            if row is None or not _visible(asker, row, others=others):
                raise NotFound("There is no such token.", fix="`rangerctl token list` shows yours.")
            ended = await token_rows.revoke(tx, token_id, by=asker.principal.actor, now=now)
            await self._tell_revoked(tx, asker, ended, now)
        self._book.forget()
        if row.revoked_at is None:
            row = replace(row, revoked_at=now, revoked_by=asker.principal.actor)
        return {**row.shown(now), "ended": [found for found, *_ in ended]}

    def _row(self, asker: Asker, wanted: Wanted, now: datetime) -> tuple[Row, str]:
        token_id, text, digest = minted.mint()
        expires_at = now + timedelta(seconds=wanted.seconds)
        made_with = None
        if asker.proof.kind == "token":
            made_with = asker.proof.key
            expires_at = min(expires_at, datetime.fromtimestamp(asker.proof.until, UTC))
        row = Row(
            token_id=token_id,
            tenant=asker.tenant,
            principal=_narrowed(asker, wanted),
            name=wanted.name,
            digest=digest,
            created_at=now,
            expires_at=expires_at,
            made_with=made_with,
        )
        return row, text

    async def _first_time(self, tx: Tx, asker: Asker, wanted: Wanted) -> None:
        """Refuse a key that was used before; of two requests at once the second waits here."""
        key = f"{asker.tenant}/{asker.request_key}"
        await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)
        stored = await tx.fetchrow(
            "SELECT body_sha256, response FROM command WHERE tenant_id = $1 AND request_key = $2",
            asker.tenant,
            asker.request_key,
        )
        if stored is None:
            return
        if bytes(stored["body_sha256"]) != wanted.digest(asker.principal.actor):
            raise Conflict(
                "This request key was used before, with another request or by somebody else.",
                fix="Use a new idempotency key for a new request.",
                code="request_key_reused",
            )
        raise Conflict(
            "This token was made already, and its secret was in the first answer alone.",
            fix="If that answer was lost, revoke the token and make another under a new key.",
            code="secret_shown_once",
            token_id=orjson.loads(stored["response"])["token_id"],
        )

    async def _remember(self, tx: Tx, asker: Asker, wanted: Wanted, row: Row) -> None:
        """That the key was used, and for which token; not what it answers."""
        await tx.execute(
            "INSERT INTO command (request_key, tenant_id, verb, body_sha256, response) VALUES ($1, $2, $3, $4, $5)",
            asker.request_key,
            asker.tenant,
            VERB,
            wanted.digest(asker.principal.actor),
            orjson.dumps({"token_id": row.token_id}),
        )

    async def _tell_created(self, tx: Tx, asker: Asker, row: Row, now: datetime) -> None:
        fact = TokenCreated(
            token_id=row.token_id,
            owner=row.principal.actor,
            name=row.name,
            roles=sorted(row.principal.roles),
            tenants=sorted(row.principal.tenants),
            scopes=sorted(row.principal.scopes),
            expires_at=rfc3339(row.expires_at),
            made_with=row.made_with,
        )
        cause = _cause(asker)
        event = self._outbox.event(fact, aggregate_id=row.token_id, aggregate_version=1, cause=cause, now=now)
        await self._outbox.add(tx, [event])

    async def _tell_revoked(
        self, tx: Tx, asker: Asker, ended: Sequence[tuple[str, str, str | None]], now: datetime
    ) -> None:
        cause = _cause(asker)
        facts = [
            TokenRevoked(token_id=found, owner=owner, revoked_by=asker.principal.actor, because_of=because)
            for found, owner, because in ended
        ]
        await self._outbox.add(
            tx,
            [
                self._outbox.event(fact, aggregate_id=fact.token_id, aggregate_version=2, cause=cause, now=now)
                for fact in facts
            ],
        )


def _narrowed(asker: Asker, wanted: Wanted) -> Principal:
    """Whom the token speaks for: the asker, with as much or less.

    What the directory knows is left out: it is looked up anew at each use of the token.
    """
    principal, base = asker.principal, asker.proof.base
    if asker.proof.kind in {"break_glass", "sender"}:
        raise Denied("This credential makes no tokens.", fix="Ask with a token of a person.", code="policy.credential")
    scopes = principal.scopes if wanted.scopes is None else frozenset(wanted.scopes)
    check_narrower(scopes, principal.scopes)
    roles = principal.roles if wanted.roles is None else frozenset(wanted.roles)
    if roles - principal.roles:
        raise widened("roles", roles - principal.roles)
    tenants = frozenset({asker.tenant} if wanted.tenants is None else wanted.tenants)
    if not asker.everywhere and tenants - principal.tenants:
        raise widened("tenants", tenants - principal.tenants)
    return replace(base, tenants=tenants, roles=roles, scopes=scopes, method="token", mfa=False)


def _visible(asker: Asker, row: Row, *, others: bool) -> bool:
    if asker.everywhere:
        return others or row.principal.actor == asker.principal.actor
    if row.principal.actor == asker.principal.actor and row.principal.tenants <= asker.principal.tenants:
        return True
    return others and asker.tenant in row.principal.tenants


def _cause(asker: Asker) -> Cause:
    return Cause(tenant=asker.tenant, actor=asker.principal.actor, correlation=asker.request_key)
