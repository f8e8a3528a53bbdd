"""The policies as files, their words, and the schema of what they are asked."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from libs.common.policy.__main__ import main
from libs.common.policy.actions import ACTIONS, PACKAGES, ROLES
from libs.common.policy.bundle import BundleRefused, PolicyBundle, folder, stamp
from libs.common.policy.inputs import VERSION, canonical, document
from libs.common.policy.lint import BANNED, faults
from libs.common.policy.model import Approval, Binding, Context, Decision, Principal, Reason, Resource
from libs.common.policy.reasons import ALLOWED, DENIED, explained, weighed, worded
from tests.unit.common.policy.questions import ACME, BUNDLE, INCIDENT, VERA

ROOT = Path(__file__).resolve().parents[4]
_WRITTEN = re.compile(r'(?:denials|lacks) contains "(\w+)"|^(?:lack\(\w+\)|\} else) := "(\w+)"', re.MULTILINE)
_GRANTED = re.compile(r'grants contains "(\w+)"')
BY_THE_SEAM = {"engine"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder(), tmp_path / "policies"))


def test_the_manifest_names_what_the_files_hold() -> None:
    manifest = json.loads((ROOT / "policies" / ".manifest").read_text())

    assert manifest["revision"] == BUNDLE.revision
    assert {package.replace(".", "/") for package in PACKAGES} < set(manifest["roots"])
    assert set(BUNDLE.data) < set(manifest["roots"])


@pytest.mark.parametrize("name", ["data.json", "incident/authz.rego", "common/access.rego"])
def test_a_change_without_a_new_name_is_not_loaded(own: Path, name: str) -> None:
    (own / name).write_text((own / name).read_text() + "\n")

    with pytest.raises(BundleRefused, match="revision"):
        PolicyBundle.read(own)

    assert main([str(own)]) == 0
    assert PolicyBundle.read(own).revision != BUNDLE.revision


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("incident/authz.rego", None, "incident.authz is missing"),
        ("data.json", None, "cannot be read"),
        (".manifest", None, "cannot be read"),
        ("data.json", "{", "cannot be read"),
        ("data.json", json.dumps({"roles": {str(number): "x" for number in range(2000)}}), "each decision pays"),
        ("incident/authz.rego", "package incident.other\n", "not called like its path"),
        ("incident/more.rego", "package incident.more\nx := time.now_ns()\n", "time.now_ns is not allowed"),
    ],
)
def test_policies_that_are_not_whole_or_break_a_rule_are_not_loaded(
    own: Path, name: str, content: str | None, told: str
) -> None:
    if content is None:
        (own / name).unlink()
    else:
        (own / name).write_text(content)
    if name.endswith(".rego"):
        stamp(own)

    with pytest.raises(BundleRefused, match=re.escape(told)):
        PolicyBundle.read(own)


def test_policies_that_do_not_compile_are_said_before_they_are_used(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "timeline" / "view.rego").write_text("package timeline.view\ndecision := {\n")

    assert main([str(own)]) == 1
    assert "timeline.view does not compile" in capsys.readouterr().err


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_given_what_it_imports_and_no_more(package: str) -> None:
    needed = BUNDLE.needed(package)

    assert {package, "common.access", "common.outcome"} <= set(needed)
    assert ("runbook.evidence" in needed) == (package == "runbook.execute")


@pytest.mark.parametrize("call", [f"{name}(x)" for name in BANNED] + ["regex.match(a, b)", "net.cidr_contains(a, b)",
    "time.now_ns()", "http.send(x)", "opa.runtime()", "rand.intn(a, b)", "io.jwt.decode(x)"])  # fmt: skip
def test_functions_that_engines_answer_differently_are_banned(call: str) -> None:
    assert list(faults(f"package m\n\nx := {call}\n")) == [f"line 3: {call.partition('(')[0]} is not allowed"]


@pytest.mark.parametrize(
    "harmless", ["# sort(x)", 'y := "sort(x)"', "y := resort(x)", "y := data.sort", "y := `max(x)`"]
)
def test_words_that_only_look_like_them_are_not(harmless: str) -> None:
    assert list(faults(f"package m\n{harmless}\n")) == []


def test_input_is_as_it_is() -> None:
    assert list(faults("package m\nx if y with input as {}\n")) == [
        "line 2: input and data are as they are; `with` is not allowed"
    ]


def test_every_code_of_the_policies_has_its_words_and_every_word_its_code() -> None:
    sources = "\n".join(BUNDLE.modules.values())
    written = {code for pair in _WRITTEN.findall(sources) for code in pair if code}

    assert written == set(DENIED) - BY_THE_SEAM
    assert set(_GRANTED.findall(sources)) == set(ALLOWED)


@pytest.mark.parametrize("code", DENIED)
def test_a_denial_says_what_is_wrong_and_what_helps(code: str) -> None:
    params = {"action": "incident.view", "environment": "prod", "required": 2, "risk": "high", "roles": "admin",
              "groups": "storage"}  # fmt: skip

    text, fix = worded(Reason(code, "deny", "m.x", params))

    assert text.endswith(".")
    assert fix
    assert "{" not in text + fix


def test_a_parameter_that_is_missing_leaves_a_gap_and_no_error() -> None:
    assert worded(Reason("clearance", "deny", "m.x", {})).text == "The thing takes clearance ."


def test_reasons_stand_by_weight_whatever_order_an_engine_has() -> None:
    found = [Reason(code, "deny", "m.x") for code in ("rationale", "tenant", "role", "scope")]

    assert [reason.code for reason in weighed(found)] == ["tenant", "scope", "role", "rationale"]


def test_a_decision_is_explained_by_the_words_of_the_catalogue() -> None:
    found = explained(Decision("d-1", allow=False, reasons=(Reason("clearance", "deny", "m.x", {"required": 2}),)))

    assert found["reasons"] == [
        {"code": "clearance", "effect": "deny", "rule": "m.x", "params": {"required": 2},
         "text": "The thing takes clearance 2.", "fix": DENIED["clearance"].fix}
    ]  # fmt: skip
    assert (found["decision_id"], found["allow"], found["simulated"]) == ("d-1", False, False)


def test_data_names_roles_that_there_are_and_actions_that_there_are() -> None:
    rows = {action: roles for table in BUNDLE.data["roles"].values() for action, roles in table.items()}

    assert set(rows) == set(ACTIONS)
    assert {role for roles in rows.values() for role in roles} | {"break_glass"} == set(ROLES)
    assert set(BUNDLE.data["risks"]) <= set(ACTIONS)


def test_the_input_is_small_and_leaves_out_what_is_empty() -> None:
    assert document(VERA, "incident.view", INCIDENT, Context(), now=5) == {
        "v": VERSION,
        "action": "incident.view",
        "actor": {"id": "vera", "kind": "person", "roles": ["viewer"], "tenant_ids": ["acme"], "environments": ["*"],
                  "auth": {"method": "token", "scopes": ["*"]}},
        "resource": {"type": "incident", "id": "i-1", "tenant_ids": ["acme"], "risk": "low"},
    }  # fmt: skip


def test_the_input_holds_every_attribute_that_is_set_and_no_others() -> None:
    binding = Binding("i", "e", "s", "p", "a")
    approval = Approval("ap", "granted", "i", "e", "s", "p", "a", "acme", "rita", "paul", 9)
    who = Principal("ada", ACME, frozenset({"b", "a"}), "service", frozenset({"prod"}), 2, frozenset({"g"}),
                    frozenset({"storage"}), "jwt", frozenset({"x.*"}), mfa=True, epoch=7)  # fmt: skip
    thing = Resource("incident", "i", "acme", "high", "prod", "critical", "new", 2, frozenset({"storage"}),
                     frozenset({"g"}), {"k": "v"}, "rita", 3)  # fmt: skip
    around = Context("closed", mitigated=True, rationale_present=True, kill_switch=True, binding=binding,
                     approvals=(approval,))  # fmt: skip

    found = document(who, "incident.close", thing, around, now=5)

    bound = {"incident_id": "i", "execution_id": "e", "step_run_id": "s", "plan_hash": "p", "action_hash": "a"}
    assert found["now"] == 5
    assert found["actor"] == {
        "id": "ada", "kind": "service", "roles": ["a", "b"], "tenant_ids": ["acme"], "environments": ["prod"],
        "clearance": 2, "groups": ["g"], "on_call": ["storage"],
        "auth": {"method": "jwt", "scopes": ["x.*"], "mfa": True},
    }  # fmt: skip
    assert found["resource"] == {
        "type": "incident", "id": "i", "tenant_ids": ["acme"], "environment": "prod", "severity": "critical",
        "status": "new", "risk": "high", "required_clearance": 2, "rotations": ["storage"], "groups": ["g"],
        "tags": {"k": "v"}, "requester_id": "rita",
    }  # fmt: skip
    assert found["context"] == {
        "to": "closed", "mitigated": True, "rationale_present": True, "kill_switch": True, "binding": bound,
        "approvals": [{"id": "ap", "state": "granted", **bound, "tenant_ids": ["acme"], "requester_id": "rita",
                       "approver_id": "paul", "expires_at": 9}],
    }  # fmt: skip
    assert json.loads(canonical(found)) == found


def test_a_principal_comes_back_from_the_wire_and_an_older_one_as_it_was_meant() -> None:
    full = Principal("ada", ACME, frozenset({"admin"}), "service", frozenset({"prod"}), 2, frozenset({"g"}),
                     frozenset({"s"}), "jwt", frozenset({"x.*"}), mfa=True, epoch=7)  # fmt: skip

    assert Principal.from_wire(json.loads(json.dumps(full.to_wire()))) == full
    assert Principal.from_wire(VERA.to_wire()) == VERA
    assert VERA.to_wire() == {"actor": "vera", "tenants": ["acme"], "roles": ["viewer"]}
    assert Principal.from_wire(Principal.system("executor").to_wire()) == Principal.system("executor")
    with pytest.raises(TypeError):
        Principal.from_wire({"actor": "ada", "tenants": "*", "roles": []})


def test_the_image_and_the_wheel_hold_the_policies() -> None:
    assert "COPY policies policies" in (ROOT / "deploy/images/ranger/Dockerfile").read_text()
    assert "!policies" in (ROOT / ".dockerignore").read_text().splitlines()
    assert 'sources = { "policies" = "libs/common/policy/policies" }' in (ROOT / "pyproject.toml").read_text()
