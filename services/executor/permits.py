"""Policy at a claim: whether a worker may carry this out, and whoever began the execution may have it done.

The second question is what keeps a runbook from lending its author's rights to whoever starts it: each step is asked
about as its initiator, with the rights that they had then. Which of the batch are alike is asked once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson

from libs.common.contracts.marking import Marking
from libs.common.policy import Principal, decide
from services.executor import about
from services.executor.model import SERVICE, Attempt

WORKER: Final = Principal.system(SERVICE)


async def refusals(attempts: Sequence[tuple[Attempt, asyncpg.Record]]) -> Mapping[str, tuple[str, str]]:
    """(code, text) by action id, of those that may not be carried out. Changes nothing and asks no server."""
    asked: dict[tuple[Any, ...], tuple[str, str] | None] = {}
    found: dict[str, tuple[str, str]] = {}
    for attempt, row in attempts:
        key = (row["rights"], attempt.tenant_id, attempt.action, attempt.risk, row["environment"], row["clearance"])
        if key not in asked:
            asked[key] = await _refusal(attempt, row)
        refusal = asked[key]
        if refusal is not None:
            found[attempt.action_id] = refusal
    return found


async def _refusal(attempt: Attempt, row: asyncpg.Record) -> tuple[str, str] | None:
    initiator = WORKER if row["rights"] is None else Principal.from_wire(orjson.loads(row["rights"]))
    marking = Marking(row["environment"], row["clearance"])
    resource = about.action(attempt.action, attempt.tenant_id, attempt.risk, marking)
    for who, asked in ((WORKER, "step.claim"), (initiator, "step.run")):
        decision = await decide(who, asked, resource)
        if not decision.allow:
            return f"policy.{decision.reason}", f"Policy does not allow {who.actor} to {asked} {attempt.action}."
    return None
