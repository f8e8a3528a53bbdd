"""A dry run as people read it: what was carried out for real, what was simulated, and what could not be, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.database import Tx
from libs.runbook.dry_run import dry, mark
from services.executor import storage


async def marked(tx: Tx, tenant_id: str, spec_hash: str, steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps, each with its `simulation`: carried_out, simulated or not_simulated; the message says why."""
    spec = await storage.known_spec(tx, tenant_id, spec_hash)
    if spec is None:
        return list(steps)
    followed = dry(spec)
    found: list[Mapping[str, Any]] = []
    for step in steps:
        own = followed.step(step["step"])
        how = mark(own)
        message = step["message"] if how == "carried_out" or step["state"] == "failed" else own.description
        found.append({**step, "simulation": how, "message": message})
    return found
