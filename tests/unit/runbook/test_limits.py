"""Limits across executions: their shapes, what lint asks of them, and the keys of one execution."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.runbook.hashing import spec_hash
from libs.runbook.lint import lint_problems
from libs.runbook.planning import PlanFacts, make_plan
from libs.runbook.problems import PlanRefused
from libs.runbook.schema import json_schema
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts

FACTS = PlanFacts(AlertFacts("slow", "high", {"shard": "s1"}, {}), "i-1")
FIX: dict[str, Any] = {
    "id": "fix",
    "type": "action",
    "action": "http.request",
    "with": {"method": "POST", "url": "http://127.0.0.1:9/"},
    "effect": "keyed",
    "resource": "shard",
}
LOOK: dict[str, Any] = {"id": "look", "type": "check", "expect": "inputs.count == 7"}
EVERY: dict[str, Any] = {
    "concurrency": {"key": "storage/${{ alert.labels.shard }}", "policy": "queue", "limit": 2},
    "rate_limit": {"executions": 5, "per": "10m", "key": "${{ incident.id }}"},
    "budget": {"resources": 3, "window": "1h", "key": "${{ inputs.count }}"},
    "cooldown": "30m",
    "breaker": {"failures": 3, "window": "1h"},
}


def runbook(**more: Any) -> Runbook:
    """A runbook of one change."""
    head = {"apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "low", "mode": "auto"}
    verify = {"verify": {"alert": "resolved", "within": "60s"}}
    inputs = {"inputs": {"count": {"type": "integer", "default": 7}}}
    return Runbook.model_validate({**head, **verify, **inputs, "steps": [FIX], **more})


def test_all_of_them_are_accepted_and_read_back_as_they_were_written() -> None:
    spec = runbook(**EVERY)

    assert lint_problems(spec) == []
    assert {name: spec.to_json()[name] for name in EVERY} == EVERY
    assert Runbook.from_json(spec.to_json()) == spec


def test_a_runbook_without_them_says_and_hashes_what_it_did_before_there_were_any() -> None:
    spec = runbook()

    assert not set(EVERY) & set(spec.to_json())
    assert spec_hash(spec.to_json()) == spec_hash(Runbook.from_json(spec.to_json()).to_json())


@pytest.mark.parametrize("name", EVERY)
def test_each_of_them_is_part_of_the_hash(name: str) -> None:
    assert spec_hash(runbook(**{name: EVERY[name]}).to_json()) != spec_hash(runbook().to_json())


def test_a_default_that_is_written_out_is_as_written() -> None:
    short = {"key": "a", "policy": "reject"}

    assert runbook(concurrency=short).to_json()["concurrency"] == short
    assert runbook(concurrency=short).concurrency == runbook(concurrency={**short, "limit": 1}).concurrency


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": {"policy": "queue"}},
        {"concurrency": {"key": "a"}},
        {"concurrency": {"key": "a", "policy": "wait"}},
        {"concurrency": {"key": "a", "policy": "queue", "limit": 0}},
        {"concurrency": {"key": "a", "policy": "queue", "limit": 1001}},
        {"concurrency": {"key": "a", "policy": "queue", "limit": True}},
        {"concurrency": {"key": "", "policy": "queue"}},
        {"concurrency": {"key": "a", "policy": "queue", "max": 2}},
        {"rate_limit": {"executions": 0, "per": "1m"}},
        {"rate_limit": {"executions": 1}},
        {"rate_limit": {"executions": 1, "per": "0s"}},
        {"rate_limit": {"executions": 1, "per": 60}},
        {"budget": {"resources": 0, "window": "1h"}},
        {"budget": {"resources": 1, "window": "8h30m"}},
        {"cooldown": 30},
        {"cooldown": "200h"},
        {"breaker": {"failures": 0, "window": "1h"}},
        {"breaker": {"failures": 101, "window": "1h"}},
    ],
)
def test_what_has_another_shape_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        runbook(**wrong)


@pytest.mark.parametrize("name", ["concurrency", "rate_limit", "budget"])
@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("${{ steps.fix.outputs.x }}", "a key may name inputs, the alert and the incident"),
        ("${{ outputs.status }}", "nothing has answered yet"),
        ("${{ inputs.nope }}", "there is no input 'nope'"),
        ("${{ alert.shard }}", "an alert has name, severity, labels, annotations"),
        ("${{ alert.name", "is not closed"),
    ],
)
def test_a_key_names_only_what_is_known_when_it_is_planned(name: str, key: str, said: str) -> None:
    [problem] = lint_problems(runbook(**{name: {**EVERY[name], "key": key}}))

    assert problem.path == f"{name}.key"
    assert said in problem.message


@pytest.mark.parametrize("name", ["budget", "cooldown", "breaker"])
def test_guards_of_changes_are_refused_where_nothing_is_changed(name: str) -> None:
    problems = lint_problems(runbook(**{name: EVERY[name]}, steps=[LOOK]))

    assert [problem.path for problem in problems] == [name]
    assert "no step changes anything" in problems[0].message


def test_the_keys_of_an_execution_are_in_its_plan_and_not_in_its_hash_beyond_the_spec() -> None:
    plan = make_plan(runbook(**EVERY), {}, FACTS)

    assert plan.keys == {"concurrency": "storage/s1", "rate_limit": "i-1", "budget": "7"}
    assert plan.to_json()["keys"] == dict(plan.keys)
    assert "keys" not in make_plan(runbook(), {}, FACTS).to_json()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("${{ alert.labels.zone }}", "alert.labels.zone"),
        ("${{ alert.labels }}", "must be text"),
        ("${{ alert.labels.empty }}", "must be text of 1 to 512 characters"),
        ("${{ alert.labels.long }}", "must be text of 1 to 512 characters"),
    ],
)
def test_a_key_without_a_value_refuses_the_plan(key: str, said: str) -> None:
    spec = runbook(concurrency={"key": key, "policy": "queue"})
    facts = PlanFacts(AlertFacts("slow", "high", {"empty": "", "long": "x" * 513}, {}), "i-1")

    with pytest.raises(PlanRefused) as refused:
        make_plan(spec, {}, facts)

    [problem] = refused.value.problems
    assert problem.path == "concurrency.key"
    assert said in problem.message


def test_editors_are_told_of_them() -> None:
    schema = json_schema()

    assert set(EVERY) <= set(schema["properties"])
    assert schema["$defs"]["Concurrency"]["required"] == ["key", "policy"]
