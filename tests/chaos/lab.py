"""What the chaos tests share: runbooks that call the target, its gate, and what its ledger shows."""

from dataclasses import dataclass
from typing import Any

from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually
from tests.support.stack import Case, Stack

KEYED, UNSAFE, CROWD = "keyed", "unsafe", "crowd"
HOLD_BEFORE, HOLD_AFTER, OPEN = "hold_before_effect", "hold_after_effect", "open"
ENDPOINTS = {KEYED: "/reroute", UNSAFE: "/restart", CROWD: "/restart"}  # a crowd comes in any order of fences
EFFECTS = {KEYED: "keyed", UNSAFE: "unsafe", CROWD: "idempotent"}
BODIES = {KEYED: "{to: standby}", UNSAFE: "{}", CROWD: "{}"}
RUNBOOK = """
apiVersion: ranger/v1
id: chaos-{kind}
name: Chaos, {kind}
risk: low
mode: auto
inputs:
  target: {{from: "${{{{ alert.annotations.target }}}}"}}
  case: {{from: "${{{{ alert.labels.case }}}}"}}
triggers:
  - alert: chaos_{kind}
verify: {{alert: resolved, within: 10m}}
steps:
  - id: act
    type: action
    action: http.request
    with: {{method: POST, url: "${{{{ inputs.target }}}}{endpoint}", json: {body}}}
    effect: {effect}
    resource: chaos/${{{{ inputs.case }}}}
    target: {{tags: {{url: "${{{{ inputs.target }}}}/tags"}}}}
    timeout: 60s
  - id: look
    type: action
    action: http.request
    with: {{method: GET, url: "${{{{ inputs.target }}}}/status"}}
    effect: read
"""


@dataclass
class Lab:
    """A stack and its target."""

    stack: Stack
    target: DemoTarget

    async def publish(self) -> None:
        """Publish a runbook for each kind of effect."""
        for kind, endpoint in ENDPOINTS.items():
            text = RUNBOOK.format(kind=kind, endpoint=endpoint, effect=EFFECTS[kind], body=BODIES[kind])
            await self.stack.publish(text)

    def case(self, kind: str) -> Case:
        """A new alert that the runbook of this kind fits."""
        return Case(self.stack, self.target.url, f"chaos_{kind}")

    async def hold(self, mode: str, count: int | None = None) -> None:
        """Hold the target's calls at a point, or open it."""
        await self.target.post("/gate", {"mode": mode} | ({"count": count} if count else {}))

    async def held(self) -> None:
        """Wait until a call is held."""

        async def holds() -> bool:
            return bool((await self.target.get("/gate"))["held"])

        await eventually(holds, timeout=20)

    async def ledger(self, case: Case, kind: str) -> list[dict[str, Any]]:
        """The target's entries of a kind (calls, effects, replays, refused) that this case made."""
        keys = await case.keys()
        return [entry for entry in (await self.target.get("/ledger"))[kind] if entry["key"] in keys]

    async def count(self, case: Case) -> tuple[int, int]:
        """Calls and effects of a case."""
        return len(await self.ledger(case, "calls")), len(await self.ledger(case, "effects"))
