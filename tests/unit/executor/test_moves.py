"""Who begins, and who gives way: by arrival, within the limit, the newest before whom it replaces."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runbook.limits import Policy
from services.executor.guards.moves import Moves, Place, moves
from services.executor.guards.terms import BreakerTerms, BudgetTerms, Terms, own, spoken
from services.executor.guards.terms import given as written
from tests.unit.executor.guarded import guarded


def holder(name: str, *, limit: int = 1, ended: bool = False) -> Place:
    """Somebody who holds a place."""
    return Place(name, holds=True, limit=limit, policy="queue", ended=ended)


def waits(name: str, policy: Policy = "queue", *, limit: int = 1) -> Place:
    """Somebody who waits for one."""
    return Place(name, holds=False, limit=limit, policy=policy)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], Moves()),
        ([holder("a")], Moves()),
        ([holder("a"), waits("b")], Moves()),
        ([waits("a")], Moves(admit=("a",))),
        ([waits("a"), waits("b")], Moves(admit=("a",))),
        ([waits("a", limit=2), waits("b", limit=2), waits("c", limit=2)], Moves(admit=("a", "b"))),
        ([holder("a"), waits("b", limit=2)], Moves(admit=("b",))),
        # the first in the queue needs more room than there is: whoever is behind it waits, too
        ([holder("a"), waits("b", limit=1), waits("c", limit=9)], Moves()),
        ([holder("a", ended=True), waits("b")], Moves()),
    ],
)
def test_places_go_by_arrival(places: list[Place], expected: Moves) -> None:
    assert moves(places) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([holder("a"), waits("b", "replace")], Moves(abort=(("a", "b"),))),
        ([waits("b", "replace")], Moves(admit=("b",))),
        ([holder("a"), waits("b", "replace"), waits("c", "replace")], Moves(abort=(("b", "c"), ("a", "c")))),
        ([holder("a"), waits("b"), waits("c", "replace")], Moves(abort=(("b", "c"), ("a", "c")))),
        # one that has ended already only has to stop: nobody else gives way for it
        ([holder("a", ended=True), waits("b", "replace")], Moves()),
        (
            [holder("a", ended=True), holder("b"), waits("c", "replace")],
            Moves(abort=(("b", "c"),)),
        ),
        ([holder("a"), holder("b"), waits("c", "replace", limit=2)], Moves(abort=(("a", "c"),))),
        ([holder("a"), waits("b", "replace", limit=2)], Moves(admit=("b",))),
        ([holder("a"), waits("b", "replace"), waits("c")], Moves(abort=(("a", "b"),))),
    ],
)
def test_the_newest_takes_the_place_of_those_before_it(places: list[Place], expected: Moves) -> None:
    assert moves(places) == expected


@st.composite
def queues(draw: st.DrawFn) -> list[Place]:
    """Any holders, then any who wait."""
    policies = st.sampled_from(("queue", "replace"))
    holders = [holder(f"h{n}", ended=draw(st.booleans())) for n in range(draw(st.integers(0, 4)))]
    waiting = [waits(f"w{n}", draw(policies), limit=draw(st.integers(1, 3))) for n in range(draw(st.integers(0, 5)))]
    return [*holders, *waiting]


@given(queues())
def test_nobody_begins_beyond_its_limit_and_whoever_is_let_in_is_not_sent_away(places: Sequence[Place]) -> None:
    found = moves(places)
    held = sum(place.holds for place in places)
    limits = {place.execution_id: place.limit for place in places}

    for number, name in enumerate(found.admit, 1):
        assert held + number <= limits[name]
    gone = {name for name, _ in found.abort}
    assert not gone & set(found.admit)
    assert not gone & {place.execution_id for place in places if place.ended}


@given(queues())
def test_whoever_waits_gets_its_turn_when_the_holders_are_gone(places: Sequence[Place]) -> None:
    waiting = [place for place in places if not place.holds]
    gone = {name for name, _ in moves(places).abort}

    left = [place for place in waiting if place.execution_id not in gone]

    assert bool(moves(left).admit) == bool(waiting)


def test_the_terms_of_an_execution_are_kept_with_it() -> None:
    terms = Terms.of(guarded(), {"budget": "eu"})

    assert terms == Terms("mend", BudgetTerms("key:eu", 2, 3600.0), 1800.0, BreakerTerms(3, 900.0))
    assert Terms.from_json(terms.to_json()) == terms


def test_a_budget_without_a_key_is_its_runbooks_own_and_no_key_of_an_author_is_the_same() -> None:
    terms = Terms.of(guarded(), {})

    assert terms is not None
    assert terms.budget is not None
    assert terms.budget.key == own("mend")
    assert own("mend") != written("runbook:mend") != written("mend")


def test_a_runbook_without_guards_of_changes_has_no_terms() -> None:
    assert Terms.of(guarded(budget=None, cooldown=None, breaker=None), {}) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(3600, "1h"), (90, "90s"), (600, "10m"), (5400, "90m"), (0.5, "500ms"), (1.5, "1500ms")]
)
def test_a_length_of_time_is_told_as_it_is_written(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
