"""What an engine gives, read: exactly a decision of the known form, or nothing is allowed; codes become reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.seam import Seam
from tests.unit.common.policy.questions import INCIDENT, VERA, Scripted, allowing, denying


def _failures(action: str) -> float:
    return REGISTRY.get_sample_value("ranger_policy_denials_total", {"action": action, "reason": "engine"}) or 0.0


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        "allow",
        [],
        {},
        {"allow": True},
        {**allowing(), "more": 1},
        {**allowing(), "allow": "true"},
        {**allowing(), "allow": 1},
        allowing() | {"grants": []},
        allowing() | {"grants": "role"},
        allowing() | {"grants": [["role"]]},
        allowing() | {"allow": False},
        denying(),
        denying("role") | {"allow": True},
        allowing() | {"denials": ["role"]},
        denying("role") | {"grants": ["role"]},
        denying("nobody_knows_it"),
        denying("on_call"),
        allowing("tenant"),
        allowing("role", "tenant"),
        allowing() | {"obligations": None},
        allowing() | {"obligations": [{"type": "audit"}]},
        allowing() | {"obligations": [{"type": "audit", "params": {"a": [1]}}]},
        allowing() | {"roles": ["admin"]},
        denying("role") | {"obligations": []},
        denying("risk") | {"roles": "admin"},
        denying("risk") | {"roles": [1]},
        EngineFailed("gone"),
    ],
)
async def test_an_answer_that_is_not_exactly_a_decision_allows_nothing(answer: Any) -> None:
    seam = Seam(Scripted(answer))
    before = _failures("incident.view")

    found = await seam.decide(VERA, "incident.view", INCIDENT)

    assert (found.allow, found.reason) == (False, "engine")
    assert _failures("incident.view") == before + 1


async def test_reasons_are_named_after_their_package_and_their_words_filled_from_what_was_asked() -> None:
    thing = replace(INCIDENT, kind="action", environment="prod", clearance=2, risk="high", groups=frozenset({"b", "a"}))
    codes = ("scope", "role", "environment", "clearance", "risk", "group")
    engine = Scripted(denying(*codes) | {"roles": ["admin", "operator"]})

    found = await Seam(engine).decide(VERA, "step.run", thing)

    assert [(reason.code, reason.effect, reason.rule) for reason in found.reasons] == [
        (code, "deny", f"runbook.execute.{code}") for code in codes
    ]
    assert [reason.params for reason in found.reasons] == [
        {"action": "step.run"},
        {},
        {"environment": "prod"},
        {"required": 2},
        {"risk": "high", "roles": "admin, operator"},
        {"groups": "a, b"},
    ]


async def test_what_was_not_asked_about_leaves_no_gap_in_the_words_that_it_would_fill() -> None:
    found = await Seam(Scripted(denying("risk", "group", "environment", "clearance"))).decide(
        VERA, "incident.view", INCIDENT
    )

    params = {reason.code: reason.params for reason in found.reasons}
    assert params == {"environment": {"environment": ""}, "clearance": {"required": 0}, "risk": {}, "group": {}}
