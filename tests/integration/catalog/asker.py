"""Asks the catalog over the bus."""

from dataclasses import dataclass, replace
from typing import Any

from libs.common.errors import Unavailable
from libs.common.policy import Principal
from libs.common.rpc import RpcClient


@dataclass(frozen=True)
class Asker:
    """One principal in one tenant."""

    client: RpcClient
    principal: Principal
    tenant: str

    async def __call__(self, verb: str, key: str = "", **body: Any) -> dict[str, Any]:
        """The catalog's answer.

        Raises:
            RangerError: what it refused with.
        """
        return await self.client.ask(
            "catalog", verb, body, principal=self.principal, tenant=self.tenant, request_key=key
        )

    def of(self, tenant: str) -> "Asker":
        """The same in another tenant, to which the principal then belongs."""
        return replace(self, tenant=tenant, principal=replace(self.principal, tenants=frozenset({tenant})))

    async def answers(self) -> bool:
        """Whether the catalog is there."""
        try:
            await self.client.ask("catalog", "list", {}, principal=self.principal, tenant=self.tenant, timeout=1.0)
        except Unavailable:
            return False
        return True
