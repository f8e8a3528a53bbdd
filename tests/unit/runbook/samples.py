"""Runbooks that the tests of the language share."""

from textwrap import dedent, indent
from typing import Any

from libs.runbook.loader import Loaded, load
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts

HEAD = """\
apiVersion: ranger/v1
id: sample
name: Sample
risk: low
mode: auto
"""

STEP = """\
- id: probe
  type: action
  action: http.request
  effect: read
"""

MUTATING_STEP = """\
- id: reroute
  type: action
  action: http.request
  effect: keyed
  resource: ingest
"""

VERIFY = "verify: {alert: resolved, within: 60s}\n"


def text(steps: str = STEP, extra: str = "", head: str = HEAD) -> str:
    """A runbook's text around these steps."""
    return head + dedent(extra) + "steps:\n" + indent(dedent(steps), "  ")


def loaded(steps: str = STEP, extra: str = "") -> Loaded:
    """A runbook around these steps, loaded."""
    return load(text(steps, extra))


def runbook(*steps: dict[str, Any], **fields: Any) -> Runbook:
    """A spec of these steps; a step that names no type is an action, and what it leaves out a read of http.request."""
    base = {"type": "action", "action": "http.request", "effect": "read"}
    data = {"apiVersion": "ranger/v1", "id": "sample", "name": "Sample", "risk": "low", "mode": "auto"}
    return Runbook.model_validate(
        {**data, **fields, "steps": [step if "type" in step else {**base, **step} for step in steps]}
    )


def alert(
    name: str = "storage_latency_high",
    severity: str = "high",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> AlertFacts:
    """An alert of the demonstration."""
    return AlertFacts(
        name,
        severity,
        {"shard": "shard-1", "standby": "shard-2"} if labels is None else labels,
        {"target": "http://127.0.0.1:9"} if annotations is None else annotations,
    )


def occasion(**fields: Any) -> PlanFacts:
    """An incident with that alert."""
    return PlanFacts(alert(**fields), "0190a0de-0000-7000-8000-000000000001")
