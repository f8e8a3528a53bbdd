"""The policy seam: every action, role and tenant, and nothing allowed that no row allows."""

from itertools import product

import pytest

from libs.common.errors import Denied
from libs.common.policy import ACTIONS, REASONS, SYSTEM_TENANTS, Decision, Principal, Resource, decide, require

ROLES = ("admin", "operator", "viewer", "alerting", "approver", "system", "stranger", "")
TENANTS = {"own": frozenset({"acme"}), "among": frozenset({"beta", "acme"}), "system": SYSTEM_TENANTS}
FOREIGN = {"other": frozenset({"beta"}), "none": frozenset[str](), "star among": frozenset({"*", "beta"})}


def _ask(role: str, tenants: frozenset[str], action: str) -> Decision:
    return decide(Principal("ada", tenants, frozenset({role} - {""})), action, Resource("thing", "1", "acme"))


@pytest.mark.parametrize(("action", "role"), list(product(ACTIONS, ROLES)))
def test_inside_its_tenants_a_role_may_do_what_the_table_gives_it(action: str, role: str) -> None:
    expected = role in ACTIONS[action]

    assert {name: _ask(role, tenants, action).allow for name, tenants in TENANTS.items()} == dict.fromkeys(
        TENANTS, expected
    )


@pytest.mark.parametrize(("action", "role"), list(product(ACTIONS, ROLES)))
def test_outside_its_tenants_nobody_may_do_anything(action: str, role: str) -> None:
    assert [_ask(role, tenants, action) for tenants in FOREIGN.values()] == [Decision(allow=False, reason="tenant")] * 3


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ["", "incident.delete", "incident.VIEW", "incident", "*"])
def test_an_action_that_is_not_in_the_table_is_denied_to_everyone(action: str, role: str) -> None:
    assert _ask(role, SYSTEM_TENANTS, action) == Decision(allow=False, reason="unknown_action")


def test_a_viewer_only_looks() -> None:
    allowed = {action for action, roles in ACTIONS.items() if "viewer" in roles}

    looking = {action for action in ACTIONS if action.endswith((".view", ".preview"))}
    own = {action for action in ACTIONS if action.startswith("token.")}
    assert allowed == (looking | own) - {"dead_letter.view", "principal.view", "webhook.view"}


def test_people_alone_approve_and_an_approver_does_nothing_else() -> None:
    approvals = {action for action in ACTIONS if action.startswith("approval.")}

    own = {action for action in ACTIONS if action.startswith("token.")}

    assert {action for action, roles in ACTIONS.items() if "approver" in roles} == approvals | own
    assert {action for action in approvals if "system" in ACTIONS[action]} == {"approval.view"}


def test_only_services_claim_plan_and_match() -> None:
    assert {action for action, roles in ACTIONS.items() if roles == {"system"}} == {
        "incident.open",
        "runbook.match",
        "execution.plan",
        "step.claim",
    }


def test_a_refusal_names_actor_action_reason_and_fix() -> None:
    viewer = Principal("vic", frozenset({"acme"}), frozenset({"viewer"}))

    with pytest.raises(Denied) as refused:
        require(viewer, "step.decide", Resource("step", "s-1", "acme"))

    assert refused.value.reason_code == "policy.role"
    assert "vic" in refused.value.detail
    assert "step.decide" in refused.value.detail
    assert refused.value.fix == REASONS["role"][1]


def test_a_principal_comes_back_from_the_wire() -> None:
    ada = Principal("ada", frozenset({"acme", "beta"}), frozenset({"admin"}))

    assert Principal.from_wire(ada.to_wire()) == ada
