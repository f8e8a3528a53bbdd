"""A runbook with guards of its changes."""

from typing import Any

from libs.runbook.spec import Runbook

STEP = {
    "id": "fix",
    "type": "action",
    "action": "http.request",
    "with": {"method": "POST", "url": "http://127.0.0.1:9/fix"},
    "effect": "keyed",
    "resource": "shard",
}


def guarded(**more: Any) -> Runbook:
    """Each guard of changes, unless it is given as None."""
    head = {"apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "low", "mode": "auto", "steps": [STEP]}
    guards = {
        "budget": {"resources": 2, "window": "1h"},
        "cooldown": "30m",
        "breaker": {"failures": 3, "window": "15m"},
    }
    said = {**head, **guards, **more}
    return Runbook.model_validate({name: value for name, value in said.items() if value is not None})
