"""What guards would say to an execution that somebody thinks of: read without a lock, true for that moment."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from libs.common.database import Tx
from libs.runbook.spec import Runbook
from services.executor.guards import breaker, budget, cooldown, rate
from services.executor.guards.hold import Hold
from services.executor.guards.terms import Terms

_PLACES: Final = """
SELECT a.execution_id, a.state FROM admission a JOIN execution e ON e.execution_id = a.execution_id
WHERE a.tenant_id = $1 AND a.slot_key = $2 AND a.state IN ('queued', 'admitted') AND (e.ended_at IS NULL OR EXISTS (
  SELECT 1 FROM action_log r WHERE r.execution_id = a.execution_id AND r.state = 'running'))
ORDER BY a.arrival
"""
_FIXES: Final[Mapping[str, str]] = {
    "concurrency": "`rangerctl execution locks` shows who holds and who waits.",
    "rate": "Wait until then.",
    "cooldown": "Wait until then, or look why the change before did not last.",
    "budget": "Wait until the window has moved on; `rangerctl execution locks` shows what waits.",
    "breaker": f"F{breaker.FIX[1:]}.",
}


async def hindrances(
    tx: Tx, tenant_id: str, spec: Runbook, keys: Mapping[str, str], resources: Sequence[str]
) -> list[dict[str, Any]]:
    """What would stand in its way: `kind` (refused or waits), `code`, `resource` if it is about one, `text`, `fix`.

    `resources` are those that it would change, as far as that is known.
    """
    found = [await _place(tx, tenant_id, spec, keys), await _rate(tx, tenant_id, spec, keys)]
    terms = Terms.of(spec, keys)
    if terms is not None:
        found += [await _change(tx, tenant_id, terms, resource) for resource in resources]
    return [item for item in found if item is not None]


async def _place(tx: Tx, tenant_id: str, spec: Runbook, keys: Mapping[str, str]) -> dict[str, Any] | None:
    wanted, key = spec.concurrency, keys.get("concurrency")
    if wanted is None or key is None:
        return None
    places = await tx.fetch(_PLACES, tenant_id, key)
    if len(places) < wanted.limit and all(place["state"] == "admitted" for place in places):
        return None
    who = _named([place for place in places if place["state"] == "admitted"])
    if wanted.policy == "reject":
        return _said("refused", "concurrency", f"No place is free under '{key}': held by {who}.")
    if wanted.policy == "replace":
        return _said("waits", "concurrency", f"It would replace what holds a place under '{key}': {who}.")
    waiting = sum(place["state"] == "queued" for place in places)
    return _said("waits", "concurrency", f"It would be number {waiting + 1} in the queue of '{key}', held by {who}.")


def _named(places: Sequence[asyncpg.Record]) -> str:
    return ", ".join(str(place["execution_id"]) for place in places[:3]) or "nobody now"


async def _rate(tx: Tx, tenant_id: str, spec: Runbook, keys: Mapping[str, str]) -> dict[str, Any] | None:
    if spec.rate_limit is None:
        return None
    key = rate.key_of(spec.id, keys.get("rate_limit"))
    why = await rate.refusal(tx, tenant_id, key, spec.rate_limit)
    return _said("refused", "rate", f"{why}.") if why else None


async def _change(tx: Tx, tenant_id: str, terms: Terms, resource: str) -> dict[str, Any] | None:
    """The first guard that would hold a change of this resource, in the order in which a claim asks them."""
    if terms.breaker is not None:
        place = breaker.Place(tenant_id, terms.runbook_id, resource)
        why = await breaker.standing(tx, place, terms.breaker)
        if why:
            return _said("waits", "breaker", f"R{why[1:]}.", resource)
    hold: Hold | None = None
    if terms.cooldown is not None:
        wanted = cooldown.Wanted(tenant_id, terms.runbook_id, resource, terms.cooldown)
        [hold] = await cooldown.holds(tx, [wanted])
    if hold is None and terms.budget is not None:
        hold = await budget.would_hold(tx, tenant_id, resource, terms.budget)
    return (
        None if hold is None else _said("waits", hold.reason, f"{hold.detail[0].upper()}{hold.detail[1:]}.", resource)
    )


def _said(kind: str, code: str, text: str, resource: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "code": code, "resource": resource, "text": text, "fix": _FIXES[code]}
