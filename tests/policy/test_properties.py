"""What holds for every question: nothing is allowed that lacks anything; a list is what `view` allows, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.policy.actions import ACTIONS
from libs.common.policy.bundle import PolicyBundle, folder
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.inputs import document
from libs.common.policy.model import ALL, Approval, Binding, Context, Principal, Resource
from libs.common.policy.seam import Seam

BUNDLE = PolicyBundle.read(folder())
ENGINE = EmbeddedRego(BUNDLE)
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROLES = ("viewer", "operator", "author", "approver", "auditor", "alerting", "admin", "system", "break_glass", "other")
LOOKING = tuple(name for name, action in ACTIONS.items() if action.looks)


def _some(*values: str) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), max_size=3)


actors = st.builds(
    Principal,
    actor=st.sampled_from(["ada", "rita", 'x","allow":true,"z":"']),
    tenants=_some("acme", "beta", "*") | st.just(ALL),
    roles=_some(*ROLES),
    kind=st.sampled_from(["person", "service", "sender"]),
    environments=_some("prod", "dev", "*") | st.just(ALL),
    clearance=st.integers(0, 3),
    groups=_some("storage", "network"),
    on_call=_some("storage", "network"),
    method=st.sampled_from(["token", "jwt", "break_glass", "service"]),
    scopes=_some("incident.*", "runbook.*", "incident.view", "step.run", "execution.*", "approval.*") | st.just(ALL),
)
bindings = st.builds(
    Binding,
    incident_id=st.sampled_from(["", "i"]),
    execution_id=st.sampled_from(["", "e", "f"]),
    step_run_id=st.just("s"),
    plan_hash=st.sampled_from(["p", "q"]),
    action_hash=st.sampled_from(["", "a"]),
)
approvals = st.builds(
    Approval,
    id=st.just("ap"),
    state=st.sampled_from(["granted", "granted", "revoked", "pending"]),
    incident_id=st.sampled_from(["", "i"]),
    execution_id=st.sampled_from(["", "e", "f"]),
    step_run_id=st.just("s"),
    plan_hash=st.sampled_from(["p", "q"]),
    action_hash=st.sampled_from(["", "a"]),
    tenant=st.sampled_from(["acme", "acme", "beta", ""]),
    requester=st.sampled_from(["rita", "ada", ""]),
    approver=st.sampled_from(["paul", "rita", ""]),
    expires_at=st.sampled_from([0, 999, 1000, 1001, 2000]),
)
contexts = st.builds(
    Context,
    to=st.sampled_from(["", "closed", "resolved"]),
    mitigated=st.booleans(),
    rationale_present=st.booleans(),
    kill_switch=st.booleans(),
    binding=st.none() | bindings,
    approvals=st.lists(approvals, max_size=2).map(tuple),
)


@st.composite
def things(draw: st.DrawFn, action: str) -> Resource:
    return Resource(
        kind=draw(st.sampled_from(ACTIONS[action].kinds)),
        id=draw(st.sampled_from(["1", '","allow":true,"x":"'])),
        tenant=draw(st.sampled_from(["acme", "acme", "beta", "", "*"])),
        risk=draw(st.sampled_from(["low", "medium", "high"])),
        environment=draw(st.sampled_from(["", "", "prod", "dev"])),
        clearance=draw(st.integers(0, 3)),
        rotations=draw(_some("storage", "network")),
        groups=draw(_some("storage", "other")),
        tags=draw(st.sampled_from([{}, {"allow-remediation": "true"}, {"allow-remediation": "no"}])),
        requester=draw(st.sampled_from(["", "ada", "rita"])),
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[Principal, str, Resource, Context]:
    action = draw(st.sampled_from(sorted(ACTIONS)))
    return draw(actors), action, draw(things(action)), draw(contexts)


def _covers(credential: frozenset[str], action: str) -> bool:
    family = f"{action.partition('.')[0]}.*"
    return credential == ALL or action in credential or family in credential


def _proven(thing: Resource, around: Context) -> bool:
    wanted = around.binding
    return wanted is not None and any(
        given.state == "granted"
        and given.expires_at > 1000
        and given.approver not in {"", given.requester}
        and given.tenant == thing.tenant != ""
        and given.execution_id == wanted.execution_id != ""
        and (given.incident_id, given.step_run_id, given.plan_hash, given.action_hash)
        == (wanted.incident_id, wanted.step_run_id, wanted.plan_hash, wanted.action_hash)
        for given in around.approvals
    )


@MANY
@given(questions())
async def test_whoever_is_allowed_has_all_that_it_takes(asked: tuple[Principal, str, Resource, Context]) -> None:
    actor, action, thing, around = asked
    found = await Seam(ENGINE, clock=lambda: 1000).decide(actor, action, thing, around)

    assert found.reasons
    if not found.allow:
        return
    assert thing.tenant
    assert actor.tenants == ALL or (thing.tenant != "*" and thing.tenant in actor.tenants)
    assert not thing.environment or actor.environments == ALL or thing.environment in actor.environments
    assert actor.clearance >= thing.clearance
    assert _covers(actor.scopes, action)
    rows = {name: roles for table in BUNDLE.data["roles"].values() for name, roles in table.items()}
    rescued = "break_glass" in actor.roles and actor.method == "break_glass"
    called = actor.kind == "person" and bool(actor.on_call & thing.rotations)
    assert actor.roles & set(rows[action]) or rescued or called
    assert not rescued or found.obligations
    if action in {"step.run", "step.complete"} and thing.risk == "high":
        assert _proven(thing, around)
    if action in {"step.run", "step.claim"}:
        assert not around.kill_switch
    if action == "approval.decide":
        assert actor.kind == "person"
        assert actor.actor != thing.requester


@MANY
@given(questions(), st.sampled_from([role for role in ROLES if role != "break_glass"]))
async def test_one_more_role_never_takes_a_right_away(
    asked: tuple[Principal, str, Resource, Context], role: str
) -> None:
    actor, action, thing, around = asked
    seam = Seam(ENGINE, clock=lambda: 1000)

    before = await seam.decide(actor, action, thing, around)
    after = await seam.decide(replace(actor, roles=actor.roles | {role}), action, thing, around)

    assert after.allow or not before.allow


@MANY
@given(questions(), st.data())
async def test_what_a_thing_demands_never_gives_a_right(
    asked: tuple[Principal, str, Resource, Context], data: st.DataObject
) -> None:
    actor, action, thing, around = asked
    seam = Seam(ENGINE, clock=lambda: 1000)
    stricter = replace(
        thing, clearance=data.draw(st.integers(thing.clearance, 3)), environment=thing.environment or "prod"
    )

    before = await seam.decide(actor, action, thing, around)
    after = await seam.decide(actor, action, stricter, around)

    assert before.allow or not after.allow


@MANY
@given(actors, st.sampled_from(LOOKING), st.data())
async def test_a_row_is_in_the_list_exactly_if_view_allows_it(
    actor: Principal, action: str, data: st.DataObject
) -> None:
    seam = Seam(ENGINE, clock=lambda: 1000)
    tenant = data.draw(st.sampled_from(["acme", "beta", "*"]))
    shown = await seam.scope(actor, action, tenant)

    for thing in data.draw(st.lists(things(action), min_size=1, max_size=5)):
        asked_for = tenant in {thing.tenant, "*"} and thing.tenant != ""
        allowed = (await seam.decide(actor, action, thing)).allow

        if asked_for:
            assert shown.covers(thing.tenant, thing.environment, thing.clearance) == allowed


@pytest.mark.parametrize("action", sorted(ACTIONS))
async def test_nobody_in_particular_may_do_nothing(action: str) -> None:
    nobody = Principal("", frozenset(), frozenset())

    found = await Seam(ENGINE).decide(nobody, action, Resource(ACTIONS[action].kinds[0], "1", "acme"))

    assert (found.allow, found.reason) == (False, "tenant")


@MANY
@given(questions())
def test_leaving_out_what_is_empty_changes_nothing(asked: tuple[Principal, str, Resource, Context]) -> None:
    actor, action, thing, around = asked
    short = document(actor, action, thing, around, now=1000)
    entrypoint = f"{ACTIONS[action].package.replace('.', '/')}/decision"

    assert ENGINE.value(entrypoint, short)["allow"] == ENGINE.value(entrypoint, _written_out(short))["allow"]


def _written_out(short: dict[str, object]) -> dict[str, object]:
    empty_actor = {"roles": [], "tenant_ids": [], "environments": [], "clearance": 0, "groups": [], "on_call": []}
    empty_thing = {"tenant_ids": [], "environment": "", "severity": "", "status": "", "required_clearance": 0,
                   "rotations": [], "groups": [], "tags": {}, "requester_id": ""}  # fmt: skip
    empty_context = {"to": "", "mitigated": False, "rationale_present": False, "kill_switch": False, "binding": None,
                     "approvals": []}  # fmt: skip
    actor, thing = short["actor"], short["resource"]
    assert isinstance(actor, dict)
    assert isinstance(thing, dict)
    auth = {"scopes": [], "mfa": False, **actor["auth"]}
    context = short.get("context", {})
    assert isinstance(context, dict)
    return {"now": 0, **short, "actor": {**empty_actor, **actor, "auth": auth}, "resource": {**empty_thing, **thing},
            "context": {**empty_context, **context}}  # fmt: skip
