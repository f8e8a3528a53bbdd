"""From text to spec: what is accepted, and how each refusal reads."""

from pathlib import Path

import pytest

from libs.runbook.lint import lint, lint_problems
from libs.runbook.loader import load
from libs.runbook.problems import Problem, RunbookInvalid
from libs.runbook.schema import json_schema
from libs.runbook.spec import Runbook
from libs.runbook.steps import ActionStep
from tests.unit.runbook.samples import MUTATING_STEP, STEP, VERIFY, loaded, runbook, text

RUNBOOKS = sorted((Path(__file__).parents[3] / "runbooks").glob("*.yaml"))


def refusal(source: str) -> list[str]:
    with pytest.raises(RunbookInvalid) as refused:
        load(source)
    return [f"{problem.path}: {problem.message}" for problem in refused.value.problems]


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_runbook_that_we_ship_can_be_published(path: Path) -> None:
    assert load(path.read_bytes()).spec.id == path.stem


def test_a_small_runbook_is_loaded_with_its_defaults() -> None:
    spec = loaded().spec

    (step,) = spec.steps
    assert isinstance(step, ActionStep)
    assert (spec.deadline, step.timeout, step.retry.attempts, step.on_failure) == ("1h", "30s", 1, "stop")


def test_the_stored_json_is_the_spec_as_written_and_reads_back_equal() -> None:
    found = loaded()

    assert found.spec_json == {
        "apiVersion": "ranger/v1",
        "id": "sample",
        "name": "Sample",
        "risk": "low",
        "mode": "auto",
        "steps": [{"id": "probe", "type": "action", "action": "http.request", "effect": "read"}],
    }
    assert Runbook.from_json(found.spec_json) == found.spec
    assert Runbook.from_json(found.spec_json).to_json() == found.spec_json


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded().spec.risk = "high"


def test_every_problem_of_a_gate_is_listed_with_its_line() -> None:
    source = text(MUTATING_STEP.replace("keyed", "magic").replace("resource", "ressource"))

    with pytest.raises(RunbookInvalid) as refused:
        load(source)

    assert refused.value.problems == (
        Problem("steps[0].effect", "must be 'read', 'idempotent', 'keyed' or 'unsafe'", 10, 5),
        Problem("steps[0].ressource", "unknown key; did you mean resource?", 11, 5),
    )
    assert str(refused.value).startswith("10:5: steps[0].effect: must be")


@pytest.mark.parametrize("kind", ["switch", "map"])
def test_a_step_type_of_later_versions_is_refused_with_those_that_are_accepted(kind: str) -> None:
    source = text(STEP.replace("type: action", f"type: {kind}"))

    accepted = "action, check, notify, wait, manual, approval, decision, parallel, loop"
    assert refusal(source) == [f"steps[0]: step type '{kind}' is not accepted; this version accepts: {accepted}"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("ranger/v1", "ranger/v2"), "apiVersion: must be 'ranger/v1'"),
        (("id: sample", "id: Sample"), "id: must be lower-case letters, digits and hyphens"),
        (("risk: low\n", ""), "risk: is missing; add it"),
        (("risk: low", "risk: severe"), "risk: must be 'low', 'medium' or 'high'"),
        (("mode: auto", "mode: auto\ntriggers: [{}]"), "triggers[0]: would match every alert"),
        (("mode: auto", "mode: auto\ntriggers: [{severity: worst}]"), "triggers[0].severity: must be 'low'"),
        (("mode: auto", "mode: auto\ntriggers: [{alert: [x, x]}]"), "triggers[0].alert: names a value twice"),
        (("mode: auto", "mode: auto\ndeadline: 10"), "deadline: must be a valid string"),
        (("mode: auto", "mode: auto\ndeadline: soon"), "deadline: must be a whole number and a unit"),
        (("mode: auto", "mode: auto\ndeadline: 200h"), "deadline: is longer than seven days"),
        (("mode: auto", "mode: auto\ninputs: {n: {type: number}}"), "inputs.n.type: must be 'string'"),
        (("mode: auto", "mode: auto\ninputs: {n: {required: false}}"), "inputs.n: an optional input needs a default"),
        (
            ("mode: auto", "mode: auto\ninputs: {n: {default: 1}}"),
            "inputs.n.default: default and one_of must be",
        ),
        (
            ("mode: auto", "mode: auto\ninputs: {n: {default: a, one_of: [b]}}"),
            "inputs.n.default: the default must be one of one_of",
        ),
        (("mode: auto", "mode: auto\ninputs: {n: {from: shard}}"), "inputs.n.from: must be exactly one reference"),
        (
            ("mode: auto", "mode: auto\ninputs: {n: {from: '${{ alert.label.shard }}'}}"),
            "inputs.n.from: `alert.label.shard`: an alert has name, severity, labels, annotations",
        ),
        (
            ("mode: auto", "mode: auto\ninputs: {n: {from: '${{ incident.name }}'}}"),
            "inputs.n.from: `incident.name`: an incident has id",
        ),
    ],
)
def test_what_a_runbook_says_is_checked(change: tuple[str, str], says: str) -> None:
    assert any(line.startswith(says) for line in refusal(text().replace(*change)))


@pytest.mark.parametrize(
    ("addition", "says"),
    [
        ("on_success: reroute", "steps[0].on_success: 'reroute' is not the id of a later step"),
        ("requires_firing: 1", "steps[0].requires_firing: must be a valid boolean"),
        ("retry: {attempts: 0}", "steps[0].retry.attempts: must be greater than or equal to 1"),
        ("retry: {attempts: '3'}", "steps[0].retry.attempts: must be a valid integer"),
        ("with: {url: '${{ inputs.x }}'}", "steps[0].with.url: `inputs.x`: there is no input 'x'; declare it"),
        ("with: {url: '${{ inputs }}'}", "steps[0].with.url: `inputs`: name a part of inputs"),
        ("with: {url: '${{ env.HOME }}'}", "steps[0].with.url: `env.HOME`: unknown name 'env'"),
        ("with: {url: '${{ 1 + 1 }}'}", "steps[0].with.url: `1 + 1` is not a reference"),
        ("with: {url: '${{ inputs.x'}", "steps[0].with.url: `${{` is not closed"),
        ("with: {list: [a, '${{ }}']}", "steps[0].with.list[1]: `${{ }}` holds no expression"),
        ("with: {url: '${{ steps.later.outputs.x }}'}", "steps[0].with.url: `steps.later.outputs.x`: must be steps."),
        ("target: {tags: {url: '${{ inputs.y }}'}}", "steps[0].target.tags.url: `inputs.y`: there is no input 'y'"),
    ],
)
def test_what_a_step_says_is_checked(addition: str, says: str) -> None:
    lines = refusal(text(MUTATING_STEP + f"  {addition}\n", VERIFY))

    assert len(lines) == 1
    assert lines[0].startswith(says)


def test_a_mutating_step_needs_a_verification() -> None:
    assert refusal(text(MUTATING_STEP)) == [
        "steps[0].effect: 'keyed' changes something, so the runbook needs verify: say how success is seen"
    ]


def test_a_mutating_step_names_its_lock() -> None:
    (line,) = refusal(text(MUTATING_STEP.replace("  resource: ingest\n", ""), VERIFY))

    assert line.startswith("steps[0].resource: is missing")


def test_an_unsafe_step_is_not_tried_again() -> None:
    (line,) = refusal(text(MUTATING_STEP.replace("keyed", "unsafe") + "  retry: {attempts: 2}\n", VERIFY))

    assert line.startswith("steps[0].retry: an unsafe step is never tried again")


def test_ids_are_unique_and_no_words_of_the_language() -> None:
    assert refusal(text(STEP + STEP)) == ["steps[1].id: 'probe' is used twice; ids are unique"]
    assert refusal(text(STEP.replace("id: probe", "id: stop"))) == [
        "steps[0].id: 'stop' is a word of the language; choose another id"
    ]


def test_a_step_that_is_never_reached_is_refused() -> None:
    spec = runbook({"id": "a", "on_success": "c"}, {"id": "b"}, {"id": "c"})

    assert lint_problems(spec) == [
        Problem("steps[1]", "'b' is never reached; remove it, or change an on_success before it")
    ]


def test_a_reference_to_an_earlier_step_is_accepted() -> None:
    assert lint(runbook({"id": "a"}, {"id": "b", "with": {"url": '${{ steps["a"].outputs.url }}'}})) == []


def test_a_spec_from_json_holds_neither_floats_nor_null() -> None:
    with pytest.raises(ValueError, match="floats are not hashed"):
        runbook({"id": "a", "with": {"deep": [{"x": 1.5}]}})
    with pytest.raises(ValueError, match=r"deep\[0\].x: null is not accepted"):
        runbook({"id": "a", "with": {"deep": [{"x": None}]}})


def test_more_steps_than_two_hundred_are_refused() -> None:
    with pytest.raises(ValueError, match="holds 201 steps; a runbook has 1 to 200"):
        runbook(*[{"id": f"s{number}"} for number in range(201)])


def test_the_json_schema_speaks_the_authors_words() -> None:
    schema = json_schema()

    assert schema["required"] == ["apiVersion", "id", "name", "risk", "mode", "steps"]
    assert {"with", "on_success", "requires_firing"} <= set(schema["$defs"]["ActionStep"]["properties"])
    assert "from" in schema["$defs"]["Input"]["properties"]
