"""The lifecycle, pair by pair: what is written here is what people were promised."""

from itertools import product
from typing import Final

import pytest

from services.approvals.errors import UndefinedMove
from services.approvals.lifecycle import (
    BY_PEOPLE,
    INITIAL,
    OPEN,
    STATES,
    TABLE,
    TARGET,
    TERMINAL,
    State,
    Trigger,
    after,
)

MOVES: Final[dict[str, dict[str, str]]] = {
    "requested": {"grant": "granted", "reject": "rejected", "expire": "expired", "withdraw": "withdrawn"},
    "granted": {"revoke": "revoked"},
    "rejected": {},
    "expired": {},
    "revoked": {},
    "withdrawn": {},
}


@pytest.mark.parametrize(("state", "trigger"), list(product(STATES, TARGET)))
def test_each_pair_leads_where_it_is_promised_or_is_refused_with_both_ends(state: State, trigger: Trigger) -> None:
    target = MOVES[state].get(trigger)

    if target is not None:
        assert after(state, trigger) == target
        return
    with pytest.raises(UndefinedMove) as refused:
        after(state, trigger)
    assert f"from {state} to {TARGET[trigger]} ({trigger})" in refused.value.detail
    assert refused.value.status == 409
    assert refused.value.data == {
        "state": state,
        "trigger": trigger,
        "target": TARGET[trigger],
        "possible": [name for name in BY_PEOPLE if name in MOVES[state]],
    }


def test_families_of_states_are_what_the_table_says() -> None:
    assert set(TABLE) == set(STATES) == set(MOVES)
    assert {INITIAL} == OPEN
    assert {"rejected", "expired", "revoked", "withdrawn"} == TERMINAL


def test_only_a_question_leads_to_a_grant() -> None:
    assert [state for state in STATES if "granted" in TABLE[state].values()] == ["requested"]
