"""The lifecycle, pair by pair: what is written here is what people were promised."""

from typing import Final

import pytest

from libs.common.contracts.incident import IncidentStatus
from services.incident.errors import RationaleMissing, UndefinedMove
from services.incident.lifecycle import (
    ACTIVE,
    BY_FACTS,
    BY_ITS_OWN,
    BY_PEOPLE,
    GUARDS,
    OPEN,
    STATUSES,
    TABLE,
    TARGET,
    TERMINAL,
    TRIGGERS,
    Circumstances,
    FactTrigger,
    PersonTrigger,
    follow,
    move,
    rationale_required,
)

MOVES: Final[dict[IncidentStatus, dict[str, IncidentStatus]]] = {
    "new": {
        "acknowledge": "acknowledged",
        "mitigate": "mitigating",
        "resolve": "resolved",
        "execution_started": "mitigating",
        "execution_completed": "monitoring",
        "alert_ended": "resolved",
    },
    "acknowledged": {
        "mitigate": "mitigating",
        "resolve": "resolved",
        "execution_started": "mitigating",
        "execution_completed": "monitoring",
        "alert_ended": "resolved",
    },
    "mitigating": {
        "monitor": "monitoring",
        "resolve": "resolved",
        "execution_completed": "monitoring",
        "alert_ended": "resolved",
    },
    "monitoring": {
        "mitigate": "mitigating",
        "resolve": "resolved",
        "execution_started": "mitigating",
        "alert_ended": "resolved",
    },
    "resolved": {"close": "closed", "reopen": "acknowledged", "alert_refired": "new"},
    "closed": {},
}
OWN_MOVES: Final[dict[IncidentStatus, dict[str, IncidentStatus]]] = {
    **{
        status: {**MOVES[status], "execution_completed": "resolved"}
        for status in ("new", "acknowledged", "mitigating", "monitoring")
    },
    "resolved": MOVES["resolved"],
    "closed": {},
}
FREE: Final = Circumstances(mitigated=True, firing=0, rationale="checked by hand")
OWN: Final = Circumstances(mitigated=True, firing=0, own=True)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("trigger", BY_PEOPLE)
def test_each_pair_of_status_and_person_s_trigger_leads_where_it_was_promised(
    status: IncidentStatus, trigger: PersonTrigger
) -> None:
    target = MOVES[status].get(trigger)

    if target is not None:
        assert move(status, trigger, FREE) == target
        return
    with pytest.raises(UndefinedMove) as refused:
        move(status, trigger, FREE)
    assert refused.value.data["status"] == status
    assert refused.value.data["target"] == TARGET[trigger]
    assert status in refused.value.detail
    assert TARGET[trigger] in refused.value.detail


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("trigger", BY_FACTS)
def test_each_pair_of_status_and_fact_s_trigger_leads_where_it_was_promised_or_changes_nothing(
    status: IncidentStatus, trigger: FactTrigger
) -> None:
    assert follow(status, trigger, FREE) == MOVES[status].get(trigger)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("trigger", BY_FACTS)
def test_facts_of_the_execution_that_opened_it_lead_where_it_was_promised(
    status: IncidentStatus, trigger: FactTrigger
) -> None:
    assert follow(status, trigger, OWN) == OWN_MOVES[status].get(trigger)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("trigger", BY_PEOPLE)
@pytest.mark.parametrize("mitigated", [False, True])
def test_what_is_said_to_need_a_rationale_is_what_is_refused_without_one(
    status: IncidentStatus, trigger: PersonTrigger, mitigated: bool
) -> None:
    try:
        move(status, trigger, Circumstances(mitigated=mitigated))
        refused = False
    except UndefinedMove:
        refused = False
    except RationaleMissing:
        refused = True

    assert (trigger in rationale_required(status, mitigated=mitigated)) == refused


@pytest.mark.parametrize("status", STATUSES)
def test_a_change_of_severity_always_needs_a_rationale_until_it_is_closed(status: IncidentStatus) -> None:
    assert ("severity" in rationale_required(status, mitigated=True)) == (status in OPEN)


def test_every_status_has_its_row_and_every_row_leads_to_the_trigger_s_own_target() -> None:
    assert set(TABLE) == set(BY_ITS_OWN) == set(STATUSES)
    assert set(TARGET) == set(TRIGGERS)
    assert all(row[trigger] == TARGET[trigger] for row in TABLE.values() for trigger in row)


def test_terminal_statuses_are_present_and_empty() -> None:
    assert {"closed"} == TERMINAL
    assert all(dict(TABLE[status]) == {} for status in TERMINAL)
    assert set(STATUSES) == TERMINAL | OPEN
    assert {"resolved"} == OPEN - ACTIVE


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TABLE["closed"]["reopen"] = "new"  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "trigger"),
    [("new", "resolve"), ("acknowledged", "resolve"), ("mitigating", "resolve"), ("resolved", "close")],
)
def test_ending_what_was_not_mitigated_needs_a_rationale(status: IncidentStatus, trigger: PersonTrigger) -> None:
    with pytest.raises(RationaleMissing) as refused:
        move(status, trigger, Circumstances(mitigated=False))

    assert refused.value.data["target"] == TARGET[trigger]
    assert move(status, trigger, Circumstances(mitigated=False, rationale="false alarm")) == TARGET[trigger]
    assert move(status, trigger, Circumstances(mitigated=True)) == TARGET[trigger]


def test_an_undefined_move_is_refused_as_such_whatever_its_guard_would_say() -> None:
    with pytest.raises(UndefinedMove):
        move("closed", "resolve", Circumstances())


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_the_end_of_one_alert_resolves_nothing_while_another_fires(status: IncidentStatus) -> None:
    assert follow(status, "alert_ended", Circumstances(firing=1)) is None
    assert follow(status, "alert_ended", Circumstances(firing=0)) == "resolved"


def test_only_these_triggers_are_guarded() -> None:
    assert set(GUARDS) == {"resolve", "close", "alert_ended"}


def test_a_refusal_says_what_is_possible_instead() -> None:
    with pytest.raises(UndefinedMove) as refused:
        move("resolved", "acknowledge", FREE)

    assert refused.value.data["possible"] == ["close", "reopen"]
    assert "close, reopen" in refused.value.fix
