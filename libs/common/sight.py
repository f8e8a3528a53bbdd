"""Which rows a transaction may see: the second layer, in Postgres itself, behind policy and every WHERE clause.

Tables with a tenant are under row-level security that goes by three settings of the transaction. A service's own work
sees everything; a transaction that answers somebody is narrowed to their tenant, and one that only reads also to their
environments and clearance. Without the settings there is nothing to see.
"""

from dataclasses import dataclass
from typing import Final

from libs.common.contracts.marking import MAX_CLEARANCE
from libs.common.database import Tx
from libs.common.policy import ALL as EVERY
from libs.common.policy import SYSTEM_TENANTS, Principal, Scope

ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Sight:
    """What may be seen; `environments` are named with commas between, things of no environment are seen by everyone."""

    tenant: str = ALL
    environments: str = ALL
    clearance: int = MAX_CLEARANCE

    @classmethod
    def of(cls, principal: Principal, tenant: str, *, changes: bool) -> "Sight":
        """What `principal` sees of `tenant`: nothing of one that is not theirs.

        Who changes something is told by policy what they may touch, and sees the whole tenant: what follows from a
        change (the next execution in a queue, say) is not always the caller's to see.
        """
        everywhere = principal.tenants == SYSTEM_TENANTS
        own = ALL if everywhere else tenant if tenant in principal.tenants else ""
        if changes:
            return cls(own)
        return cls(own, ",".join(sorted(principal.environments)), principal.clearance)


async def narrow(tx: Tx, sight: Sight, *, turn: str = "") -> None:
    """Let the rest of the transaction see no more than `sight`; one round trip.

    With the name of a `turn` it also waits until nobody else has it, and has it until the transaction ends.
    """
    seen = sight.tenant, sight.environments, str(sight.clearance)
    if turn:
        await tx.execute(f"{_NARROW}, pg_advisory_xact_lock(hashtextextended($4, 0))", *seen, turn)
    else:
        await tx.execute(_NARROW, *seen)


_NARROW: Final = (
    "SELECT set_config('rr.tenant', $1, true), set_config('rr.environments', $2, true),"
    " set_config('rr.clearance', $3, true)"
)


def seen(environments: str, clearance: str) -> str:
    """What of a marked table a scope covers, beside its tenant: SQL whose two parameters `filters` gives."""
    return (
        f"(environment = '' OR {environments}::text[] IS NULL OR environment = ANY ({environments}))"
        f" AND clearance <= {clearance}::smallint"
    )


def filters(scope: Scope) -> tuple[list[str] | None, int]:
    """The parameters of `seen`; of a scope that allows nothing, no row is left."""
    environments = None if scope.environments == EVERY else sorted(scope.environments)
    return environments, scope.max_clearance
