"""What an execution asks, and what its facts make of it, in whichever order they are handled."""

from itertools import permutations
from typing import Any

import pytest

from libs.common.errors import InvalidInput
from services.approvals.docket import MAX_PROMPT, MAX_SECONDS, Docket
from tests.unit.approvals.samples import ACTION, NOW, PLAN, SOON, asked

OTHER = "c" * 64


def subjects(docket: Docket) -> list[str]:
    return [told.fact.subject for told in docket.story]


def test_the_same_question_is_asked_once_however_often_it_comes() -> None:
    docket = Docket(ended=False)

    for version in (3, 5, 9):
        docket.ask(asked(version))

    assert subjects(docket) == ["approval.requested"]


def test_every_visit_plan_and_action_is_a_question_of_its_own() -> None:
    different: list[dict[str, Any]] = [
        {},
        {"step_run_id": "s-2"},
        {"execution_id": "e-2"},
        {"plan_hash": OTHER},
        {"action_hash": OTHER},
        {"approval_of": "plan"},
    ]

    assert len({asked(**more).approval_id for more in different}) == len(different)
    assert asked(9).approval_id == asked(3).approval_id


def test_a_step_that_asks_about_other_bytes_withdraws_what_it_asked_before() -> None:
    docket = Docket(ended=False)
    docket.ask(asked(3))

    docket.ask(asked(5, action_hash=OTHER), origin=1)

    assert subjects(docket) == ["approval.requested", "approval.withdrawn", "approval.requested"]
    assert [approval.action_hash for approval in docket.open.values()] == [OTHER]
    assert [told.origin for told in docket.story] == [0, 1, 1]


def test_an_older_question_of_a_step_does_not_take_the_place_of_a_newer_one() -> None:
    docket = Docket(ended=False)
    docket.ask(asked(5, action_hash=OTHER))

    docket.ask(asked(3))

    assert [approval.action_hash for approval in docket.open.values()] == [OTHER]


def test_steps_wait_beside_each_other() -> None:
    docket = Docket(ended=False)

    docket.ask(asked(3))
    docket.ask(asked(4, step_run_id="s-2"))

    assert len(docket.open) == 2


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_after_the_end_nothing_is_open_in_whichever_order_facts_come(order: tuple[int, ...]) -> None:
    docket = Docket(ended=False)
    facts = [
        lambda: docket.ask(asked(3)),
        lambda: docket.ask(asked(4, step_run_id="s-2")),
        lambda: docket.end(now=SOON),
    ]

    for index in order:
        facts[index]()

    assert docket.ended
    assert docket.open == {}
    assert subjects(docket).count("approval.requested") == subjects(docket).count("approval.withdrawn")


def test_an_execution_ends_once() -> None:
    docket = Docket(ended=False)
    docket.ask(asked())

    docket.end(now=SOON)
    docket.end(now=SOON)

    assert subjects(docket) == ["approval.requested", "approval.withdrawn"]


@pytest.mark.parametrize("name", ["step_run_id", "plan_hash", "requester", "action_hash"])
@pytest.mark.parametrize("empty", [None, ""])
def test_a_question_without_what_it_is_about_is_refused_by_name(name: str, empty: str | None) -> None:
    with pytest.raises(InvalidInput, match=name):
        asked(**{name: empty})


def test_a_plan_needs_no_action() -> None:
    plan = asked(approval_of="plan", action_hash=None, action=None)

    assert (plan.of, plan.plan_hash, plan.action_hash, plan.action) == ("plan", PLAN, "", "")


def test_what_is_not_said_is_taken_carefully() -> None:
    approval = asked(approval_of=None, risk=None, expires_seconds=None, prompt=None, action=None, resource_id=None)

    assert (approval.of, approval.risk, approval.action_hash) == ("action", "high", ACTION)
    assert (approval.expires_at - NOW).total_seconds() == 60


@pytest.mark.parametrize(
    ("seconds", "taken"), [(0, 0), (-5, 0), (float("nan"), 0), (float("inf"), MAX_SECONDS), (1e300, MAX_SECONDS)]
)
def test_impossible_times_become_possible_ones(seconds: float, taken: float) -> None:
    assert (asked(expires_seconds=seconds).expires_at - NOW).total_seconds() == taken


def test_what_outsiders_wrote_into_a_prompt_can_be_stored() -> None:
    approval = asked(prompt="x\x00y" * MAX_PROMPT, resource_id="shard\x00")

    assert "\x00" not in approval.prompt + approval.resource_id
    assert len(approval.prompt) == MAX_PROMPT
