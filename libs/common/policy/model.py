"""What is asked and what is answered: who, what about, under which circumstances; allowed or not, and why.

Nothing here holds free text: ids, enumerations, integers and booleans. What a person wrote (a title, a rationale) never
reaches a policy; whether there is a rationale does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, Literal, Self

SYSTEM_TENANTS: Final = frozenset({"*"})
ALL: Final = frozenset({"*"})
"""Every tenant, environment, scope; alone in its set, or it means nothing."""
CLEARANCES: Final = range(4)
PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED = CLEARANCES
"""Clearances, of a thing and of who sees it."""

Kind = Literal["person", "service", "sender"]
Method = Literal["token", "jwt", "break_glass", "webhook", "service"]
Effect = Literal["allow", "deny"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. The identity comes from the credential alone, never from a body.

    `on_call`: rotations for which the actor is on call now. `scopes`: what the credential may be used for, actions or
    prefixes such as `incident.*`. `epoch` is raised when a principal's rights change.
    """

    actor: str
    tenants: frozenset[str]
    roles: frozenset[str]
    kind: Kind = "person"
    environments: frozenset[str] = ALL
    clearance: int = PUBLIC
    groups: frozenset[str] = frozenset()
    on_call: frozenset[str] = frozenset()
    method: Method = "token"
    scopes: frozenset[str] = ALL
    mfa: bool = False
    epoch: int = 0

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready; what is as usual is left out."""
        wire: dict[str, Any] = {}
        for known in fields(self):
            value = getattr(self, known.name)
            if known.default is MISSING or value != known.default:
                wire[known.name] = sorted(value) if isinstance(value, frozenset) else value
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """What `to_wire` wrote, now or when it knew less.

        Raises:
            KeyError, TypeError: it did not.
        """
        return cls(
            actor=str(wire["actor"]),
            tenants=_names(wire["tenants"]),
            roles=_names(wire["roles"]),
            kind=wire.get("kind", "person"),
            environments=_names(wire.get("environments", ALL)),
            clearance=wire.get("clearance", PUBLIC),
            groups=_names(wire.get("groups", ())),
            on_call=_names(wire.get("on_call", ())),
            method=wire.get("method", "token"),
            scopes=_names(wire.get("scopes", ALL)),
            mfa=wire.get("mfa", False),
            epoch=wire.get("epoch", 0),
        )

    @classmethod
    def system(cls, service: str) -> Self:
        """A service acting on a fact, not on a person's word."""
        return cls(
            actor=f"svc_{service}",
            tenants=SYSTEM_TENANTS,
            roles=frozenset({"system"}),
            kind="service",
            clearance=RESTRICTED,
            method="service",
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked about; `*` as id is any of its kind. What nobody has set demands nothing.

    `version` is not looked at by policies: a decision is not used again for another one.
    """

    kind: str
    id: str
    tenant: str
    risk: str = "low"
    environment: str = ""
    severity: str = ""
    status: str = ""
    clearance: int = PUBLIC
    rotations: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    requester: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """What an approval has to have been given for; empty where there is no such thing."""

    incident_id: str
    execution_id: str
    step_run_id: str
    plan_hash: str
    action_hash: str


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval as it is stored. `expires_at`: Unix seconds."""

    id: str
    state: str
    incident_id: str
    execution_id: str
    step_run_id: str
    plan_hash: str
    action_hash: str
    tenant: str
    requester: str
    approver: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances; `to` is where a transition leads, or the severity that is wished for."""

    to: str = ""
    mitigated: bool = False
    rationale_present: bool = False
    kill_switch: bool = False
    binding: Binding | None = None
    approvals: Sequence[Approval] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a code of the catalogue, the rule that said so, and what its wording needs."""

    code: str
    effect: Effect
    rule: str
    params: Mapping[str, str | int | bool] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"code": self.code, "effect": self.effect, "rule": self.rule, "params": dict(self.params)}


@dataclass(frozen=True, slots=True)
class Obligation:
    """What whoever acts on the decision has to do besides."""

    type: str
    params: Mapping[str, str | int | bool] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"type": self.type, "params": dict(self.params)}


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `ttl_ms`: how long it may be used again for the very same question; 0 is never."""

    decision_id: str
    allow: bool
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...] = ()
    engine: str = ""
    revision: str = ""
    ttl_ms: int = 0
    simulated: bool = False

    @property
    def reason(self) -> str:
        """The code that weighs most; `policy.<code>` is the error's."""
        return self.reasons[0].code if self.reasons else ""

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "decision_id": self.decision_id,
            "allow": self.allow,
            "reasons": [reason.to_wire() for reason in self.reasons],
            "obligations": [obligation.to_wire() for obligation in self.obligations],
            "policy": {"engine": self.engine, "revision": self.revision},
            "ttl_ms": self.ttl_ms,
            "simulated": self.simulated,
        }


@dataclass(frozen=True, slots=True)
class Scope:
    """Which things of a kind somebody may see: a WHERE clause as a value. Nothing at all unless `allow`.

    `tenants` and `environments` are names, or `ALL`. A thing without an environment is in every one.
    """

    allow: bool
    tenants: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    max_clearance: int = -1

    def covers(self, tenant: str, environment: str = "", clearance: int = PUBLIC) -> bool:
        """Whether a thing like that is seen: what the clause says, for one row."""
        return (
            self.allow
            and (self.tenants == ALL or tenant in self.tenants)
            and (not environment or self.environments == ALL or environment in self.environments)
            and clearance <= self.max_clearance
        )


NOTHING: Final = Scope(allow=False)


def _names(found: Iterable[Any]) -> frozenset[str]:
    """A list's strings; a bare string is not one, or it would be taken apart into letters."""
    if isinstance(found, str):
        raise TypeError("a list of names is expected")
    return frozenset(map(str, found))
