"""What lint and the loader ask of the types of steps, and how each refusal reads."""

from typing import Any

import pytest

from libs.runbook.lint import lint_problems
from libs.runbook.loader import load
from libs.runbook.problems import RunbookInvalid
from libs.runbook.schema import json_schema
from libs.runbook.spec import Runbook
from libs.runbook.steps import STEP_TYPES
from tests.unit.runbook.samples import MUTATING_STEP, STEP, VERIFY, runbook, text

CHECK = "- {id: look, type: check, expect: inputs.go}\n"
NOTIFY = "- {id: tell, type: notify, channel: ops, message: hello}\n"
WAIT = "- {id: pause, type: wait, for: 30s}\n"
MANUAL = "- {id: hand, type: manual, instructions: Look at it.}\n"
APPROVAL = "- {id: ask, type: approval, prompt: Go on?}\n"
GO = "inputs: {go: {type: boolean}, n: {type: integer}}\n"


def refusal(source: str, **options: Any) -> list[str]:
    with pytest.raises(RunbookInvalid) as refused:
        load(source, **options)
    return [f"{problem.path}: {problem.message}" for problem in refused.value.problems]


def faults(spec: Runbook) -> list[str]:
    return [f"{problem.path}: {problem.message}" for problem in lint_problems(spec, types=STEP_TYPES)]


@pytest.mark.parametrize("step", [CHECK, NOTIFY, WAIT, MANUAL, APPROVAL])
def test_the_least_of_each_type_is_a_step(step: str) -> None:
    spec = load(text(step.replace("id: ask", "id: agree"), GO), types=STEP_TYPES).spec

    assert Runbook.from_json(spec.to_json()) == spec
    assert spec.to_json()["steps"] == [item.model_dump(by_alias=True, exclude_unset=True) for item in spec.steps]


@pytest.mark.parametrize(("step", "kind"), [(NOTIFY, "notify"), (WAIT, "wait"), (MANUAL, "manual")])
def test_a_type_that_is_not_carried_out_is_refused(step: str, kind: str) -> None:
    assert refusal(text(step), types={"check", "action"}) == [
        f"steps[0].type: '{kind}' is not carried out by this version; it carries out: action, check"
    ]


@pytest.mark.parametrize(
    ("addition", "says"),
    [
        ("risk: high", "steps[0].risk: high risk needs an approval, which this version cannot carry out"),
        ("irreversible: true", "steps[0].irreversible: forces an approval, which this version cannot carry out"),
        ("approval: {expires: 5m}", "steps[0].approval: forces an approval, which this version cannot carry out"),
    ],
)
def test_what_forces_an_approval_is_accepted_once_approvals_are_carried_out(addition: str, says: str) -> None:
    source = text(MUTATING_STEP + f"  {addition}\n", VERIFY)

    assert refusal(source, types={"action"}) == [says]
    assert load(source, types=STEP_TYPES).spec.needs_approval("reroute")


def test_a_runbook_of_high_risk_holds_a_step_that_needs_an_approval() -> None:
    high = text(STEP).replace("risk: low", "risk: high")

    assert refusal(high, types=STEP_TYPES) == [
        "risk: is high, but no step needs an approval: add one, or lower the risk"
    ]
    asking = text(MUTATING_STEP, VERIFY).replace("risk: low", "risk: high")
    assert load(asking, types=STEP_TYPES).spec.needs_approval("reroute")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("- {id: x, type: wait}", "steps[0]: say how long: either for, such as 30s, or seconds"),
        ("- {id: x, type: wait, for: 1s, seconds: 1}", "steps[0]: say how long: either for"),
        ("- {id: x, type: wait, for: soon}", "steps[0]: must be a whole number and a unit"),
        ("- {id: x, type: wait, seconds: '5'}", "steps[0]: seconds must be a whole number, or a template"),
        ("- {id: x, type: wait, seconds: 0}", "steps[0].seconds: must be greater than or equal to 1"),
        ("- {id: x, type: wait, seconds: 604801}", "steps[0].seconds: must be less than or equal to 604800"),
        ("- {id: x, type: wait, seconds: '${{ inputs.x }}'}", "steps[0].seconds: `inputs.x`: there is no input 'x'"),
        ("- {id: x, type: wait, for: '${{ inputs.x }}s'}", "steps[0].for: `inputs.x`: there is no input 'x'"),
        ("- {id: x, type: wait, for: 1s, retry: {}}", "steps[0].retry: does not belong here; remove it"),
        ("- {id: x, type: wait, for: 1s, action: a.b}", "steps[0].action: does not belong here; remove it"),
        ("- {id: x, type: notify, channel: c}", "steps[0].message: is missing; add it"),
        ("- {id: x, type: notify, channel: c, message: '${{ inputs.x }}'}", "steps[0].message: `inputs.x`"),
        ("- {id: x, type: notify, channel: c, message: m, severity: bad}", "steps[0].severity: must be 'low'"),
        ("- {id: x, type: manual}", "steps[0].instructions: is missing; add it"),
        ("- {id: x, type: manual, instructions: '${{ inputs.x }}'}", "steps[0].instructions: `inputs.x`"),
        ("- {id: x, type: manual, instructions: i, evidence: maybe}", "steps[0].evidence: must be 'required' or"),
        ("- {id: x, type: manual, instructions: i, form: {Bad: {}}}", "steps[0].form.Bad: must be lower-case"),
        ("- {id: x, type: manual, instructions: i, form: {n: {type: date}}}", "steps[0].form.n.type: must be 'string'"),
        (
            "- {id: x, type: manual, instructions: i, form: {n: {type: integer, one_of: [a]}}}",
            "steps[0].form.n.one_of: must be of type integer",
        ),
        ("- {id: x, type: approval}", "steps[0].prompt: is missing; add it"),
        ("- {id: x, type: approval, prompt: p, of: action}", "steps[0].of: must be 'plan'"),
        ("- {id: x, type: approval, prompt: p, expires: 8000h}", "steps[0].expires: is longer than seven days"),
        ("- {id: x, type: approval, prompt: p, approvers: [a, a]}", "steps[0].approvers: names a value twice"),
        ("- {id: x, type: approval, prompt: '${{ env.X }}'}", "steps[0].prompt: `env.X`: unknown name 'env'"),
        ("- {id: x, type: check}", "steps[0].expect: is missing; add it"),
        ("- {id: x, type: check, action: a.b, effect: keyed, expect: inputs.go}", "steps[0].effect: must be 'read'"),
        ("- {id: x, type: check, with: {a: 1}, expect: inputs.go}", "steps[0].with: belongs to an action"),
        (
            "- {id: x, type: check, capture: {a: outputs.b}, expect: inputs.go}",
            "steps[0].capture: belongs to an",
        ),
        (
            "- {id: x, type: check, retry: {attempts: 2}, expect: inputs.go}",
            "steps[0].retry: a check without an",
        ),
        ("- {id: x, type: check, expect: inputs.n}", "steps[0].expect: `inputs.n`: a condition must be true or false"),
        ("- {id: x, type: check, expect: 'true'}", "steps[0].expect: `true` is always the same"),
        ("- {id: x, type: check, expect: '${{ inputs.go }}'}", "steps[0].expect: is a condition, not a template"),
        ("- {id: x, type: check, expect: steps.x.outputs.y == 1}", "steps[0].expect: `steps.x.outputs.y == 1`"),
        ("- {id: x, type: wait, for: 1s, when: outputs.x == 1}", "steps[0].when: `outputs.x == 1`"),
        ("- {id: x, type: wait, for: 1s, when: inputs.go &&}", "steps[0].when: `inputs.go &&`"),
        ("- {id: x}", "steps[0].type: is missing; add it"),
        ("- {id: x, type: 5}", "steps[0].type: must be one of action, check"),
        ("- {id: x, type: [action]}", "steps[0].type: must be one of action, check"),
    ],
)
def test_what_a_step_says_is_checked(step: str, says: str) -> None:
    lines = refusal(text(step + "\n", GO), types=STEP_TYPES)

    assert [line for line in lines if line.startswith(says)], lines


def test_an_action_may_capture_from_what_it_answered_and_nothing_else_may_name_that() -> None:
    good = STEP + "  capture: {code: outputs.status, big: 'outputs.n > 5', first: 'outputs.list[0]'}\n"

    templated = refusal(text(STEP + "  with: {x: '${{ outputs.y }}'}\n"), types=STEP_TYPES)
    unknown = refusal(text(STEP + "  capture: {code: inputs.y}\n"), types=STEP_TYPES)

    assert set(load(text(good), types=STEP_TYPES).spec.steps[0].captures) == {"code", "big", "first"}
    assert templated[0].startswith("steps[0].with.x")
    assert unknown[0].startswith("steps[0].capture.code")


def test_what_is_irreversible_changes_something() -> None:
    assert faults(runbook({"id": "a", "irreversible": True})) == [
        "steps[0].irreversible: does not fit effect: read, which changes nothing"
    ]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"on_success": "a"}, "steps[1].on_success: 'a' is not the id of a later step, nor end"),
        ({"on_success": "b"}, "steps[1].on_success: 'b' is not the id of a later step, nor end"),
        ({"on_success": "nowhere"}, "steps[1].on_success: 'nowhere' is not the id of a later step, nor end"),
        ({"on_failure": "a"}, "steps[1].on_failure: 'a' is neither stop, continue, ask nor the id of a later step"),
        ({"on_failure": "end"}, "steps[1].on_failure: 'end' is neither stop, continue, ask nor the id of a later step"),
    ],
)
def test_steps_lead_forward_only(step: dict[str, Any], says: str) -> None:
    found = faults(runbook({"id": "a"}, {"id": "b", **step}, {"id": "c"}))

    assert [line for line in found if line.startswith(says)] == found != []


def test_a_step_that_only_a_failure_leads_to_is_reached() -> None:
    assert faults(runbook({"id": "a", "on_success": "end", "on_failure": "b"}, {"id": "b"})) == []


def test_a_step_behind_an_end_is_never_reached() -> None:
    assert faults(runbook({"id": "a", "on_success": "end"}, {"id": "b"})) == [
        "steps[1]: 'b' is never reached; remove it, or change an on_success before it"
    ]


def test_continue_is_a_word_where_it_is_used_as_one() -> None:
    assert faults(runbook({"id": "a", "on_success": "continue"}, {"id": "continue"})) == []
    assert faults(runbook({"id": "a", "on_failure": "continue"}, {"id": "continue"})) == [
        "steps: 'continue' is the id of a step and stands in an on_failure; choose another id"
    ]


def test_the_json_schema_knows_every_type() -> None:
    schema = json_schema()

    mapping = schema["properties"]["steps"]["items"]["discriminator"]["mapping"]
    assert set(mapping) == set(STEP_TYPES)
    assert {"for", "seconds"} <= set(schema["$defs"]["WaitStep"]["properties"])
