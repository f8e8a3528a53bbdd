"""What a run gives the product to do: runbooks that change the target, one a way in which that matters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from libs.common.ids import new_id

KEYED, UNSAFE, CROWD, GUARDED, TIMED, MANUAL = "keyed", "unsafe", "crowd", "guarded", "timed", "manual"
FAN, BACK, QUEUED = "fan", "back", "queued"
WEIGHTS: Final[Mapping[str, int]] = MappingProxyType({
    KEYED: 6, UNSAFE: 5, CROWD: 3, GUARDED: 4, TIMED: 2, MANUAL: 1, FAN: 2, BACK: 2, QUEUED: 2,
})  # fmt: skip
ONCE: Final = "/apply/once"
APPLY: Final = "/apply"
SEPARATE: Final = frozenset({CROWD, FAN, QUEUED})
"""Kinds that keep to a resource of their own, so that many of them go on at once."""
STARTS_AT: Final = "2026-03-01T10:00:00Z"
ENDS_AT: Final = "2026-03-01T11:00:00Z"

_HEAD: Final = """\
apiVersion: ranger/v1
id: chaos-{kind}
name: Chaos, {kind}
risk: medium
mode: auto
inputs:
  target: {{from: "${{{{ alert.annotations.target }}}}"}}
  resource: {{from: "${{{{ alert.annotations.resource }}}}"}}
  ms: {{type: integer, from: "${{{{ alert.annotations.ms }}}}"}}
triggers:
  - alert: chaos_{kind}
verify: {{alert: resolved, within: 10m}}
deadline: 30m
{more}steps:
"""
_CHANGE: Final = """\
  - id: {name}
    type: action
    action: http.request
    with:
      method: POST
      url: ${{{{ inputs.target }}}}{endpoint}
      json: {{resource: "${{{{ inputs.resource }}}}", ms: "${{{{ inputs.ms }}}}"}}
    effect: {effect}
    resource: ${{{{ inputs.resource }}}}
    target: {{tags: {{url: "${{{{ inputs.target }}}}/tags"}}}}
    timeout: 30s
"""
_LOOK: Final = """\
  - id: look
    type: check
    action: http.request
    with: {{method: GET, url: "${{{{ inputs.target }}}}/status"}}
    expect: outputs.status == 200
    retry: {{attempts: 5, delay: 500ms}}
"""
_WAIT: Final = "  - {{id: pause, type: wait, seconds: 1}}\n"
_ASK: Final = "    approval: {{prompt: 'Change ${{{{ inputs.resource }}}}?', expires: {expires}}}\n"
_HAND: Final = "  - {{id: hand, type: manual, instructions: Look at it, timeout: 10m}}\n"


_FAN: Final = """\
  - id: each-part
    type: loop
    over: [0, 1, 2, 3]
    concurrency: 2
    steps:
{part}{part_again}  - id: both
    type: parallel
    failures: collect
    branches:
      left:
{left}      right:
{right}"""
_BACK: Final = """\
    rollback:
      action: http.request
      with:
        method: POST
        url: ${{{{ inputs.target }}}}/apply
        json: {{resource: "${{{{ inputs.resource }}}}", ms: "${{{{ inputs.ms }}}}"}}
      effect: keyed
"""
_FAILS: Final = """\
  - id: fails
    type: check
    action: http.request
    with: {{method: GET, url: "${{{{ inputs.target }}}}/status"}}
    expect: outputs.status == 299
"""


def _fan() -> str:
    def part(name: str, resource: str, deeper: int, *, endpoint: str = APPLY, effect: str = "keyed") -> str:
        text = _CHANGE.format(name=name, endpoint=endpoint, effect=effect)
        text = text.replace("${{ inputs.resource }}", f"${{{{ inputs.resource }}}}/{resource}")
        return "".join(f"{' ' * deeper}{line}\n" for line in text.splitlines())

    return _FAN.format(
        part=part("part", "${{ each.item }}", 4),
        part_again=part("part-again", "${{ each.item }}", 4),
        left=part("left-one", "left", 6) + part("left-two", "left", 6),
        right=part("right-one", "right", 6, endpoint=ONCE, effect="unsafe"),
    )


def runbook(kind: str, *, expires: str = "5s") -> str:
    """The text of a kind's runbook; `expires` is how long an approval of it may be given, and then used."""
    first = _CHANGE.format(name="act", endpoint=ONCE if kind in {UNSAFE, CROWD} else APPLY, effect=_EFFECT[kind])
    second = _CHANGE.format(name="after", endpoint=APPLY, effect="keyed")
    steps = {
        KEYED: first + second + _LOOK.format(),
        UNSAFE: first + _LOOK.format(),
        CROWD: first,
        GUARDED: first + _ASK.format(expires=expires) + second,
        TIMED: first + _WAIT.format() + second,
        MANUAL: first + _HAND.format() + second,
        FAN: _fan(),
        QUEUED: first + second,
        BACK: first + _BACK.format() + second + _BACK.format() + _FAILS.format(),
    }
    return _HEAD.format(kind=kind, more=_MORE.get(kind, "")) + steps[kind]


_EFFECT: Final = {
    UNSAFE: "unsafe",
    CROWD: "idempotent",
    KEYED: "keyed",
    GUARDED: "keyed",
    TIMED: "keyed",
    MANUAL: "keyed",
    FAN: "keyed",
    BACK: "keyed",
    QUEUED: "keyed",
}
_MORE: Final = {BACK: "on_failed: rollback\n", QUEUED: "concurrency: {key: chaos, policy: queue}\n"}


@dataclass(frozen=True, slots=True)
class Case:
    """One alert: what it is about, and what its runbook changes for how long."""

    kind: str
    resource: str
    ms: int
    target: str
    name: str = field(default_factory=lambda: f"case-{new_id()}")

    def event(self, status: str = "firing") -> dict[str, Any]:
        """The alert in our own form."""
        return {
            "name": f"chaos_{self.kind}",
            "status": status,
            "severity": "high",
            "labels": {"case": self.name},
            "fingerprint": self.name,
            "annotations": {"target": self.target, "resource": self.resource, "ms": str(self.ms)},
            "starts_at": STARTS_AT,
            **({"ends_at": ENDS_AT} if status == "resolved" else {}),
        }

    def inputs(self) -> dict[str, str | int]:
        """The same, for who begins the runbook by hand."""
        return {"target": self.target, "resource": self.resource, "ms": self.ms}
