"""May I? Questions to policy whose answers change nothing: the same path as a command's, marked as simulated.

A thing is named by its id, and is looked up in the caller's name, or described by what policies go by. One that is
missing and one that the caller may not see are the same answer. Who asks for somebody else needs a right of its own,
and asks within their own tenants.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints, model_validator

from libs.common.errors import Denied, InvalidInput, NotFound
from libs.common.policy import ACTIONS, SYSTEM_TENANTS, Context, Principal, Question, Resource, decide_many, explained
from services.gateway import answers
from services.gateway.asking import Ask, Asking, StrictRoute, reply
from services.gateway.parameters import Parameters
from services.gateway.tokens import Actor, Label, ScopeName, TenantName

MOST: Final = 100
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*][A-Za-z0-9_.:/@-]{0,127}$")]
Clearance = Literal["public", "internal", "confidential", "restricted"]
CLEARANCES: Final = ("public", "internal", "confidential", "restricted")

router = APIRouter(prefix="/policy", tags=["policy"], route_class=StrictRoute)


class Described(Parameters):
    """A thing as policies know it: `id` alone is looked up; anything else describes one that need not exist."""

    kind: Annotated[str, Field(max_length=32)] | None = None
    id: Id | None = None
    tenant: TenantName | None = None
    environment: Label | None = None
    clearance: Clearance | None = None
    severity: Literal["low", "medium", "high", "critical"] | None = None
    status: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")] | None = None
    risk: Literal["low", "medium", "high"] | None = None
    rotations: Annotated[list[Label], Field(max_length=20)] | None = None
    groups: Annotated[list[Label], Field(max_length=20)] | None = None
    requester: Actor | None = None

    @property
    def hypothetical(self) -> bool:
        """Whether it says more than which thing."""
        return bool(self.given().keys() - {"kind", "id", "tenant"})

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "Described":
        if self.id not in {None, "*"} and self.hypothetical:
            raise ValueError("name a thing by its id, or describe one without")
        return self


class Somebody(Parameters):
    """Who else it is asked for."""

    actor: Actor
    roles: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=20)]
    tenants: Annotated[list[TenantName], Field(min_length=1, max_length=100)] | None = None
    environments: Annotated[list[Label], Field(max_length=100)] | None = None
    clearance: Clearance | None = None
    groups: Annotated[list[Label], Field(max_length=100)] | None = None
    on_call: Annotated[list[Label], Field(max_length=100)] | None = None
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=100)] | None = None


class Circumstances(Parameters):
    """Where a transition would lead, and what would be known then."""

    to: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")] | None = None
    mitigated: bool | None = None
    rationale_present: bool | None = None
    kill_switch: bool | None = None


class Asked(Parameters):
    """One question: an action, on what, and under which circumstances."""

    action: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}\.[a-z_]{1,32}$")]
    resource: Described | None = None
    context: Circumstances | None = None


class Simulation(Parameters):
    """At most a hundred questions, for oneself or for somebody else."""

    questions: Annotated[list[Asked], Field(min_length=1, max_length=MOST)]
    actor: Somebody | None = None


@router.post("/simulate", response_model=answers.Simulated)
async def simulate(ask: Ask, simulation: Simulation) -> Response:
    """What policy would say, with every reason, how to put it right, and what an allowed act would oblige to.

    Nothing is changed, and nothing is written down. `not_found` is the answer about what the caller cannot see.
    """
    await ask.require("policy.simulate", "policy")
    principal = ask.identity.principal
    if simulation.actor is not None:
        await ask.require("policy.simulate_other", "policy")
        principal = _somebody(simulation.actor, ask)
    seen: dict[tuple[str, str], Mapping[str, Any] | None] = {}
    asked = [(item, await _resource(ask, item, seen)) for item in simulation.questions]
    questions = [
        Question(principal, item.action, found, _context(item, seen.get((found.kind, found.id))))
        for item, found in asked
        if found is not None
    ]
    decisions = iter(await decide_many(questions, simulated=True))
    return reply(
        {"decisions": [_told(item, explained(next(decisions)) if found else MISSING) for item, found in asked]}
    )


MISSING: Final[Mapping[str, Any]] = {
    "allow": False,
    "reasons": [
        {
            "code": "not_found",
            "effect": "deny",
            "rule": "gateway.not_found",
            "params": {},
            "text": "There is no such thing, or you may not see it.",
            "fix": "Look at the list; `rangerctl policy can` without an id asks about any of its kind.",
        }
    ],
    "obligations": [],
    "simulated": True,
}
"""What nobody judged: to whom it is missing, it may as well not be there."""


def _told(item: Asked, decision: Mapping[str, Any]) -> dict[str, Any]:
    resource = item.resource or Described()
    return {"action": item.action, "resource": {"kind": resource.kind, "id": resource.id}, **decision}


def _somebody(wanted: Somebody, ask: Asking) -> Principal:
    """Whoever it is asked for, within the asker's tenants."""
    own = ask.identity.principal.tenants
    tenants = frozenset(wanted.tenants or (ask.identity.tenant,))
    if own != SYSTEM_TENANTS and not tenants <= own:
        raise Denied("Policy is asked for people of your own tenants alone.", code="policy.tenant")
    return Principal(
        wanted.actor,
        tenants,
        frozenset(wanted.roles),
        environments=frozenset(wanted.environments or ("*",)),
        clearance=CLEARANCES.index(wanted.clearance or "public"),
        groups=frozenset(wanted.groups or ()),
        on_call=frozenset(wanted.on_call or ()),
        scopes=frozenset(wanted.scopes or ("*",)),
    )


async def _resource(ask: Asking, item: Asked, seen: dict[tuple[str, str], Mapping[str, Any] | None]) -> Resource | None:
    """What is asked about; None where there is no such thing for the caller."""
    known = ACTIONS.get(item.action)
    if known is None:
        raise InvalidInput(f"There is no action {item.action}.", fix="docs/policies.md lists them.", code="no_action")
    described = item.resource or Described()
    kind = described.kind or known.kinds[0]
    if described.id in {None, "*"} or kind not in LOOKUPS:
        return _described(described, kind, ask.identity.tenant)
    place = (kind, described.id or "")
    if place not in seen:
        seen[place] = await _looked_up(ask, *place)
    found = seen[place]
    return None if found is None else _of(kind, place[1], found, described.tenant or ask.identity.tenant)


def _described(described: Described, kind: str, tenant: str) -> Resource:
    return Resource(
        kind,
        described.id or "*",
        described.tenant or tenant,
        risk=described.risk or "low",
        environment=described.environment or "",
        severity=described.severity or "",
        status=described.status or "",
        clearance=CLEARANCES.index(described.clearance or "public"),
        rotations=frozenset(described.rotations or ()),
        groups=frozenset(described.groups or ()),
        requester=described.requester or "",
    )


LOOKUPS: Final[Mapping[str, tuple[str, str, str]]] = {
    "incident": ("incident", "get", "incident_id"),
    "execution": ("executor", "get", "execution_id"),
    "approval": ("approvals", "get", "approval_id"),
    "runbook": ("catalog", "get_version", "runbook_id"),
}
"""Who knows a kind of thing, and by which question."""


async def _looked_up(ask: Asking, kind: str, name: str) -> Mapping[str, Any] | None:
    service, verb, key = LOOKUPS[kind]
    try:
        return await ask.content(service, verb, {key: name})
    except (NotFound, Denied, InvalidInput):
        return None


def _of(kind: str, name: str, found: Mapping[str, Any], tenant: str) -> Resource:
    rotation = found.get("rotation") or ""
    return Resource(
        kind,
        name,
        str(found.get("tenant_id") or tenant),
        risk=str(found.get("risk") or "low"),
        environment=str(found.get("environment") or ""),
        severity=str(found.get("severity") or ""),
        status=str(found.get("status") or found.get("state") or ""),
        clearance=int(found.get("clearance") or 0),
        rotations=frozenset({rotation} if rotation else ()),
        groups=frozenset(map(str, found.get("deciders", found.get("groups")) or ())),
        requester=str(found.get("requester") or found.get("initiator") or ""),
    )


def _context(item: Asked, found: Mapping[str, Any] | None) -> Context:
    """The circumstances that are named; whether an incident was mitigated is known of one that was looked up."""
    named = item.context or Circumstances()
    mitigated = named.mitigated if named.mitigated is not None else bool((found or {}).get("mitigated_at"))
    return Context(
        to=named.to or "",
        mitigated=mitigated,
        rationale_present=bool(named.rationale_present),
        kill_switch=bool(named.kill_switch),
    )
