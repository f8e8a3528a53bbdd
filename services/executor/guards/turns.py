"""Taking turns: whoever decides about a key holds its advisory lock until its transaction ends.

Keys are taken in their order, all at once, after alerts' rows and before executions' rows (who may begin), or after
the locks of resources (budgets): two that meet cannot wait for each other.
"""

from collections.abc import Iterable
from typing import Final

from libs.common.database import Tx

_SEED: Final = 0x67756172
"""Keeps these locks apart from others that are named by a hash."""


async def take(tx: Tx, names: Iterable[str]) -> None:
    """Hold the locks of these names; waits for whoever holds one."""
    wanted = sorted(set(names))
    if wanted:
        await tx.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(name, $2)) FROM unnest($1::text[]) AS t(name)",
            wanted,
            _SEED,
        )


def place(tenant_id: str, key: str) -> str:
    """The lock of a concurrency key."""
    return f"place/{tenant_id}/{key}"


def rate(tenant_id: str, key: str) -> str:
    """The lock of a rate's key."""
    return f"rate/{tenant_id}/{key}"


def budget(tenant_id: str, key: str) -> str:
    """The lock of a budget's key."""
    return f"budget/{tenant_id}/{key}"
