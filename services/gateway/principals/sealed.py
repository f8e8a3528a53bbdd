"""The sealed account: for the night when nobody else can be let in.

Its secret lies in an envelope; the installation knows a hash of it, from a file. The first use breaks the seal: that is
an activation, told once as a fact, counted and logged, and it lasts for so many minutes. Every request in it says why
(`Rr-Rationale`). When the activations that the file allows are used up the secret opens nothing any more, and a new one
is sealed (`rangerctl token seal`).
"""

import hmac
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from libs.common.clock import rfc3339
from libs.common.contracts.access import BreakGlassUsed
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.errors import Denied, Unavailable
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import RESTRICTED, SYSTEM_TENANTS, Principal
from libs.common.telemetry import log
from services.gateway import metrics
from services.gateway.principals.minted import digest_of
from services.gateway.principals.proof import Proof, Rejected
from services.gateway.principals.watched import FileRefused, Watched, document
from services.gateway.tokens import Actor, TenantName

VARIABLE: Final = "RR_BREAK_GLASS_FILE"
PREFIX: Final = "rrbg_"
ROLE: Final = "break_glass"
MIN_RATIONALE: Final = 3
MAX_RATIONALE: Final = 500
_SECRET: Final = re.compile(r"rrbg_[0-9a-f]{64}")
_WHAT: Final = "a sealed account is a mapping: sha256, actor, tenants"


class SealFile(BaseModel):
    """What the installation knows of the envelope: nothing that opens anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    actor: Actor = "break-glass"
    tenants: Annotated[frozenset[TenantName], Field(min_length=1, max_length=1000)]
    minutes: Annotated[int, Field(ge=1, le=480)] = 60
    activations: Annotated[int, Field(ge=1, le=24)] = 1

    @field_validator("tenants")
    @classmethod
    def _all_or_some(cls, value: frozenset[str]) -> frozenset[str]:
        if "*" in value and value != SYSTEM_TENANTS:
            raise ValueError("`*` stands alone")
        return value

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The account in a file.

        Raises:
            FileRefused: it holds none.
        """
        found = document(content, cls, what=_WHAT, secret=True)
        if found.actor.startswith("svc_"):
            raise FileRefused("actor: names of services are not for people")
        return found

    @property
    def principal(self) -> Principal:
        """Whom the secret speaks for."""
        return Principal(
            self.actor,
            self.tenants,
            frozenset({ROLE}),
            clearance=RESTRICTED,
            method="break_glass",
        )


@dataclass(frozen=True, slots=True)
class Activation:
    """A time in which the account is in use."""

    activation_id: str
    digest: bytes
    until: datetime


class Seal:
    """The account, if the installation has one."""

    def __init__(self, path: str, database: Database, *, tenant: str) -> None:
        self.watched: Watched[SealFile | None] = Watched(VARIABLE, path, SealFile.parse, None)
        self._database = database
        self._tenant = tenant
        self._outbox = Outbox("gateway", database.schema)
        self._known: Activation | None = None

    async def open(self, secret: str, rationales: Sequence[str]) -> Proof:
        """Let the holder of the secret in, and begin an activation where none is under way.

        Raises:
            Rejected: it is not the secret.
            Denied: no rationale, or the activations are used up.
            Unavailable: the database does not answer.
        """
        account = self.watched.value
        good = _SECRET.fullmatch(secret) is not None
        known = bytes.fromhex(account.sha256) if account is not None else bytes(32)
        if not hmac.compare_digest(digest_of(secret), known) or not good or account is None:
            raise Rejected("break_glass")
        rationale = _rationale(rationales)
        active = self._known
        if active is None or active.digest != known or active.until.timestamp() <= time.time():
            try:
                active = self._known = await self._activate(account, rationale)
            except TRANSIENT as error:
                log.warning("break_glass_unread", error=type(error).__name__)
                raise Unavailable("The sealed account cannot be opened now.", fix="Try again.") from None
        log.warning("break_glass_request", actor=account.actor, activation=active.activation_id, rationale=rationale)
        principal = account.principal
        return Proof("break_glass", principal, principal, active.activation_id, active.until.timestamp())

    def stands(self, activation_id: str) -> bool:
        """Whether an activation is still that of the account in the file."""
        account, active = self.watched.value, self._known
        return (
            account is not None
            and active is not None
            and active.activation_id == activation_id
            and active.digest.hex() == account.sha256
        )

    async def _activate(self, account: SealFile, rationale: str) -> Activation:
        """The activation that is under way, in whichever gateway it began, or a new one."""
        digest, now = bytes.fromhex(account.sha256), datetime.now(UTC)
        async with self._database.transaction("break_glass") as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('break_glass', 0))")
            rows = await tx.fetch("SELECT activation_id, until FROM break_glass WHERE digest = $1", digest)
            for row in rows:
                if row["until"] > now:
                    return Activation(str(row["activation_id"]), digest, row["until"])
            if len(rows) >= account.activations:
                raise Denied(
                    "This secret has been used up.",
                    fix="Seal the account anew: `rangerctl token seal`.",
                    code="break_glass_spent",
                )
            active = Activation(new_id(), digest, now + timedelta(minutes=account.minutes))
            await self._tell(tx, account, active, rationale, now)
        metrics.BREAK_GLASS.inc()
        log.critical(
            "break_glass_used",
            actor=account.actor,
            activation=active.activation_id,
            until=rfc3339(active.until),
            rationale=rationale,
        )
        return active

    async def _tell(self, tx: Tx, account: SealFile, active: Activation, rationale: str, now: datetime) -> None:
        tenant = self._tenant if account.tenants == SYSTEM_TENANTS else min(account.tenants)
        await tx.execute(
            "INSERT INTO break_glass (activation_id, digest, actor, tenant_id, rationale, began_at, until)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            uuid.UUID(active.activation_id),
            active.digest,
            account.actor,
            tenant,
            rationale,
            now,
            active.until,
        )
        fact = BreakGlassUsed(
            activation_id=active.activation_id,
            actor=account.actor,
            tenants=sorted(account.tenants),
            rationale=rationale,
            until=rfc3339(active.until),
        )
        cause = Cause(tenant=tenant, actor=account.actor, correlation=active.activation_id)
        event = self._outbox.event(fact, aggregate_id=active.activation_id, aggregate_version=1, cause=cause, now=now)
        await self._outbox.add(tx, [event])


def _rationale(given: Sequence[str]) -> str:
    """Why the account is used.

    Raises:
        Denied: nobody says.
    """
    try:
        text = given[0].encode("latin-1").decode().strip() if len(given) == 1 else ""
    except UnicodeDecodeError:
        text = ""
    if not MIN_RATIONALE <= len(text) <= MAX_RATIONALE or not text.isprintable():
        raise Denied(
            "The sealed account is not used without a reason.",
            fix=f"Say why in one `Rr-Rationale` header, {MIN_RATIONALE} to {MAX_RATIONALE} characters.",
            code="rationale_missing",
        )
    return text
