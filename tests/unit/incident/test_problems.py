"""One incident a problem, however often, in whatever order and by however many senders it is reported."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.contracts.incident import AlertResolved, IncidentCreated, IncidentStatusChanged
from services.incident.model import moved
from services.incident.problems import Problem
from tests.unit.incident.samples import LATER, NOW, START, Story, alert

AGAIN = START + timedelta(hours=1)


def test_the_first_firing_opens_an_incident_that_carries_the_alert() -> None:
    story = Story()

    assert story.report(annotations={"summary": "slow"}, title="Storage is slow") == "opened"

    [step] = story.problem.story
    assert isinstance(step.fact, IncidentCreated)
    assert step.fact.title == "Storage is slow"
    assert step.fact.severity == "high"
    assert step.fact.labels == {"service": "evidence"}
    assert (step.incident.version, step.incident.status, step.incident.firing) == (1, "new", 1)


def test_an_alert_without_a_title_gives_its_name() -> None:
    story = Story()
    story.report()

    [step] = story.problem.story
    assert isinstance(step.fact, IncidentCreated)
    assert step.fact.title == "storage_latency_high"


def test_a_hundred_repeats_only_count() -> None:
    story = Story()

    outcomes = [story.report(now=NOW + timedelta(seconds=i)) for i in range(100)]

    assert outcomes == ["opened", *["repeated"] * 99]
    assert story.subjects() == ["incident.created"]
    known = story.problem.alerts[START]
    assert (known.occurrences, known.last_seen) == (100, NOW + timedelta(seconds=99))


def test_a_new_start_is_linked_to_the_open_incident() -> None:
    story = Story()
    story.report()

    assert story.report(starts=AGAIN) == "linked"

    assert story.subjects() == ["incident.created", "incident.alert_linked"]
    assert story.versions() == [1, 2]
    assert story.incident().firing == 2


def test_the_last_alert_s_end_resolves_the_incident_and_an_earlier_one_s_does_not() -> None:
    story = Story()
    story.report()
    story.report(starts=AGAIN)

    assert story.report("resolved") == "ended"
    assert story.incident().status == "new"
    assert story.report("resolved", starts=AGAIN, now=LATER) == "ended"

    assert story.subjects()[2:] == [
        "incident.alert_resolved",
        "incident.alert_resolved",
        "incident.status_changed",
    ]
    counts = [step.fact.still_firing for step in story.problem.story if isinstance(step.fact, AlertResolved)]
    assert counts == [1, 0]
    assert story.incident().status == "resolved"
    assert story.incident().resolved_at == LATER
    assert story.versions() == [1, 2, 3, 4, 5]


def test_late_copies_of_an_ended_alert_change_nothing() -> None:
    story = Story()
    story.report()
    story.report("resolved")
    before = (dict(story.problem.incidents), dict(story.problem.alerts), list(story.problem.story))

    assert story.report(now=LATER) == "late"
    assert story.report("resolved", now=LATER) == "late"

    assert (story.problem.incidents, story.problem.alerts, story.problem.story) == before


def test_an_end_before_its_firing_opens_nothing_and_keeps_the_firing_from_opening() -> None:
    story = Story()

    assert story.report("resolved") == "early_end"
    assert story.report() == "late"

    assert story.problem.incidents == {}
    assert story.problem.story == []
    assert not story.problem.alerts[START].firing


def test_an_early_end_in_an_open_incident_tells_nothing_and_keeps_that_alert_from_firing() -> None:
    story = Story()
    story.report()

    assert story.report("resolved", starts=AGAIN) == "early_end"
    assert story.report(starts=AGAIN) == "late"

    assert story.subjects() == ["incident.created"]
    assert story.incident().firing == 1


def test_a_new_firing_reopens_a_resolved_incident() -> None:
    story = Story()
    story.report()
    story.report("resolved")

    assert story.report(starts=AGAIN, now=LATER) == "linked"

    assert story.subjects()[-2:] == ["incident.alert_linked", "incident.status_changed"]
    incident = story.incident()
    assert (incident.status, incident.opened_at, incident.resolved_at) == ("new", LATER, None)


def test_a_new_firing_after_closing_opens_another_incident() -> None:
    story = Story()
    story.report()
    story.report("resolved")
    closed = moved(story.incident(), "close", rationale="done with", now=LATER).incident
    after = Story(Problem("default", "f1", [closed], story.problem.alerts.values()))
    after.new_id = story.new_id

    assert after.report() == "late"
    assert after.report(starts=AGAIN, now=LATER) == "opened"

    assert len(after.problem.incidents) == 2
    assert after.subjects() == ["incident.created"]


def test_what_a_person_closed_while_it_fired_stays_closed_and_still_learns_of_the_end() -> None:
    story = Story()
    story.report()
    resolved = moved(story.incident(), "resolve", rationale="known and harmless", now=NOW).incident
    closed = moved(resolved, "close", rationale="known and harmless", now=NOW).incident
    after = Story(Problem("default", "f1", [closed], story.problem.alerts.values()))

    assert after.report(now=LATER) == "repeated"
    assert after.report("resolved", now=LATER) == "ended"

    assert after.subjects() == ["incident.alert_resolved"]
    assert after.incident().status == "closed"
    assert after.versions() == [closed.version + 1]


def test_the_automatic_resolution_says_why() -> None:
    story = Story()
    story.report()
    story.report("resolved")

    fact = story.problem.story[-1].fact
    assert isinstance(fact, IncidentStatusChanged)
    assert (fact.trigger, fact.rationale) == ("alert_ended", "every alert of it has ended")


def test_an_alert_is_one_alert_across_fractions_that_a_clock_cannot_tell_apart() -> None:
    story = Story()

    story.report(starts="2026-03-01T09:59:50.123456789Z")
    outcome = story.report(starts="2026-03-01T10:59:50.123456001+01:00")

    assert outcome == "repeated"


@given(
    reports=st.lists(
        st.tuples(st.sampled_from(["firing", "resolved"]), st.integers(min_value=0, max_value=3)), max_size=40
    )
)
def test_whatever_order_reports_come_in_the_facts_stay_consistent(reports: list[tuple[str, int]]) -> None:
    story = Story()

    for status, start in reports:
        story.report(status, starts=START + timedelta(hours=start))

    firing = sum(known.firing for known in story.problem.alerts.values())
    assert story.subjects().count("incident.created") == len(story.problem.incidents) <= 1
    assert story.versions() == list(range(1, len(story.problem.story) + 1))
    assert sum(incident.firing for incident in story.problem.incidents.values()) == firing
    for moment, known in story.problem.alerts.items():
        seen = [status for status, n in reports if START + timedelta(hours=n) == moment]
        assert known.firing == ("resolved" not in seen)


@given(
    reports=st.lists(
        st.tuples(st.sampled_from(["firing", "resolved"]), st.integers(min_value=0, max_value=3)), max_size=30
    ),
    cuts=st.sets(st.integers(min_value=0, max_value=30)),
)
def test_where_batches_are_cut_makes_no_difference(reports: list[tuple[str, int]], cuts: set[int]) -> None:
    whole, parts = Story(), Story()

    told = []
    for number, (status, start) in enumerate(reports):
        if number in cuts:
            told += parts.problem.story
            stored = parts.problem
            parts.problem = Problem("default", "f1", stored.incidents.values(), stored.alerts.values())
        whole.report(status, starts=START + timedelta(hours=start))
        parts.report(status, starts=START + timedelta(hours=start))

    assert told + parts.problem.story == whole.problem.story
    assert parts.problem.incidents == whole.problem.incidents
    assert parts.problem.alerts == whole.problem.alerts


@pytest.mark.parametrize("trigger", ["resolve", "close"])
def test_a_person_s_rationale_stays_with_the_incident(trigger: str) -> None:
    story = Story()
    story.report()
    incident = story.incident()
    if trigger == "close":
        incident = replace(incident, status="resolved")

    step = moved(incident, trigger, rationale="false alarm", now=LATER)  # type: ignore[arg-type]

    assert step.incident.rationale == "false alarm"
    assert isinstance(step.fact, IncidentStatusChanged)
    assert step.fact.rationale == "false alarm"


def test_fingerprints_default_to_the_labels_whatever_their_order() -> None:
    one = alert(fingerprint="", labels={"a": "1", "b": "2"})
    other = alert(fingerprint="", labels={"b": "2", "a": "1"})

    assert one.fingerprint == other.fingerprint != ""
