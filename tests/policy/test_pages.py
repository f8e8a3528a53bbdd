"""What docs/policies.md says is so: its codes, its examples, its commands, its limits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.policy.actions import PACKAGES
from libs.common.policy.bundle import PolicyBundle, folder, stamp
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.lint import BANNED
from libs.common.policy.model import Context, Principal, Resource
from libs.common.policy.reasons import DENIED
from libs.common.policy.seam import Seam
from tests.support.pages import ROOT, blocks

PAGE = "docs/policies.md"
ACME = frozenset({"acme"})
OPERATOR = Principal("olga", ACME, frozenset({"operator"}))
ADMIN = replace(OPERATOR, roles=frozenset({"admin"}))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder(), tmp_path / "policies"))


def _seam(own: Path) -> Seam:
    stamp(own)
    return Seam(EmbeddedRego(PolicyBundle.read(own)))


def test_the_page_has_every_code_with_the_words_of_the_catalogue() -> None:
    page = (ROOT / PAGE).read_text()

    missing = [code for code, (text, fix) in DENIED.items() if f"| `{code}` | {text} | {fix} |" not in page]

    assert missing == []


def test_the_page_names_every_package_target_and_banned_word() -> None:
    page, makefile = (ROOT / PAGE).read_text(), (ROOT / "Makefile").read_text()

    assert all(f"`{package}`" in page for package in PACKAGES)
    assert all(f"\n{target}:" in makefile for target in ("policy-stamp", "policy-test"))
    assert {"sort", "min", "max", "regex", "net", "time", "rand", "print"} < set(BANNED)


async def test_the_row_of_the_page_makes_publishing_of_medium_risk_the_authors(own: Path) -> None:
    (row,) = blocks(PAGE, "json")
    data = json.loads((own / "data.json").read_text())
    for action, risks in json.loads(row)["risks"].items():
        data["risks"][action].update(risks)
    (own / "data.json").write_text(json.dumps(data))
    seam, runbook = _seam(own), Resource("runbook", "r", "acme", risk="medium")

    found = [await seam.decide(who, "runbook.publish", runbook) for who in (OPERATOR, ADMIN)]

    assert [(decision.allow, decision.reason) for decision in found] == [(False, "risk"), (True, "role")]


async def test_the_rule_of_the_page_has_critical_incidents_closed_by_administrators(own: Path) -> None:
    (rule,) = blocks(PAGE, "rego")
    path = own / "incident" / "authz.rego"
    path.write_text(f"{path.read_text()}\n{rule}")
    seam = _seam(own)
    critical = Resource("incident", "i", "acme", severity="critical")
    around = Context(mitigated=True)

    by_operator = await seam.decide(OPERATOR, "incident.close", critical, around)
    by_admin = await seam.decide(ADMIN, "incident.close", critical, around)
    lesser = await seam.decide(OPERATOR, "incident.close", replace(critical, severity="high"), around)

    assert (by_operator.allow, by_operator.reason) == (False, "role")
    assert by_admin.allow
    assert lesser.allow
