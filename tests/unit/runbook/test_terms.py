"""The terms of an approval: what they default to, what is asked for, and what lint finds in them."""

from typing import Any

import pytest

from libs.runbook.advance import advance
from libs.runbook.effects import PublishFact, RequestApproval
from libs.runbook.facts import ApprovalGranted, Started
from libs.runbook.frame import Frame
from libs.runbook.hashing import spec_hash
from libs.runbook.known import Known
from libs.runbook.lint import lint_problems
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import occasion, runbook

LEVELS = [{"after": "5m", "approvers": ["lead"]}, {"after": "10m", "groups": ["board"]}]
FULL = {
    "expires": "20m", "approvers": ["ops"], "groups": ["storage"], "quorum": 2, "remind_after": ["1m", "15m"],
    "escalation": LEVELS,
}  # fmt: skip
FORM = {"window": {"type": "integer"}}


def asking(**terms: Any) -> Runbook:
    return runbook({"id": "agree", "type": "approval", "prompt": "Go on?", **terms}, {"id": "b", "effect": "read"})


def faults(**terms: Any) -> list[str]:
    return [str(problem) for problem in lint_problems(asking(**terms))]


def test_terms_that_can_be_met_are_accepted_by_questions_of_both_kinds() -> None:
    own = runbook({"id": "b", "effect": "read", "approval": FULL})

    assert faults(**FULL) == []
    assert lint_problems(own) == []


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"approvers": ["system"]}, "approvers: system: no person has these roles"),
        ({"approvers": ["system", "alerting"], "quorum": 2}, "no person has these roles"),
        ({"remind_after": ["15m"]}, "remind_after.0: 15m is not before it expires (15m)"),
        (
            {"approvers": ["a"], "escalation": [{"after": "1h", "groups": ["b"]}]},
            "escalation.0.after: 1h is not before",
        ),
        ({"escalation": LEVELS}, "adds to those who are named, and nobody is"),
        ({"approvers": ["lead"], "escalation": LEVELS[:1]}, "names nobody who may not decide already"),
        ({"approvers": ["a"], "escalation": LEVELS[::-1]}, "does not come after the level before it"),
        ({"form": {"approval_id": {}}}, "what the step answers by itself"),
        ({"form": {"n": {"type": "integer", "one_of": ["x"]}}}, "must be of type integer"),
    ],
)
def test_what_can_never_be_met_is_named(terms: dict[str, Any], says: str) -> None:
    assert [fault for fault in faults(**terms) if says in fault], faults(**terms)


@pytest.mark.parametrize(
    "terms", [{"quorum": 0}, {"quorum": 21}, {"quorum": "2"}, {"escalation": [{"after": "1m"}]}, {"remind_after": "1m"}]
)
def test_what_is_no_term_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(terms))):
        asking(**terms)


def test_what_was_written_before_keeps_its_hash() -> None:
    plain = asking(expires="10m", approvers=["lead"])

    assert spec_hash(plain.to_json()) == spec_hash(Runbook.from_json(plain.to_json()).to_json())
    assert not {"quorum", "groups", "form"} & set(plain.to_json()["steps"][0])


def test_the_question_repeats_the_terms_and_says_nothing_of_what_is_as_usual() -> None:
    spec, plain = asking(**FULL, form=FORM), asking()

    effects = advance(spec, Frame(), [Started()], Known({}, occasion()))[1]
    [asked] = [effect for effect in effects if isinstance(effect, RequestApproval)]
    [told] = [effect.data for effect in effects if isinstance(effect, PublishFact) and effect.type == "blocked"]

    assert asked.terms["quorum"] == told["quorum"] == 2
    assert asked.terms["remind_after_seconds"] == [60.0, 900.0]
    assert [level["after_seconds"] for level in told["escalation"]] == [300.0, 600.0]
    assert told["form"]["window"]["type"] == "integer"
    effects = advance(plain, Frame(), [Started()], Known({}, occasion()))[1]
    assert [effect.terms for effect in effects if isinstance(effect, RequestApproval)] == [{}]


def test_what_was_filled_in_is_known_to_later_steps() -> None:
    spec = asking(form=FORM)
    granted = ApprovalGranted("agree", 1, "p", {"window": 5})

    frame, _ = advance(spec, Frame(), [Started(), granted], Known({}, occasion()))

    run = frame.run("agree", 1)
    assert run is not None
    assert run.outputs == {"window": 5, "approval_id": "p"}
    assert [str(problem) for problem in lint_problems(_using("steps.agree.outputs.window"))] == []


def _using(source: str) -> Runbook:
    use = {"id": "b", "effect": "read", "with": {"method": "GET", "url": f"http://t/${{{{ {source} }}}}"}}
    return runbook({"id": "agree", "type": "approval", "prompt": "Go on?", "form": FORM}, use)
