"""Invariants 1 to 4 and 9 to 14 on small evidence: when they hold, and what breaks them."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from libs.tlog.verify import StoredEntry
from runbook_ranger.chaos.evidence import Change, Evidence, Injury, Ledger, Log, Look, Message
from runbook_ranger.chaos.invariants import (
    CHECKS,
    TITLES,
    check,
    delivery,
    health,
    letters,
    log,
    order,
    quiet,
    states,
    timers,
    traces,
    writes,
)
from tests.unit.chaos.samples import EFFECT, RUN, at, attempt, call, changes, event, evidence, outbox
from tests.unit.tlog.worked import ITEMS, Store, message, stored


def test_there_are_fourteen_and_nothing_breaks_none_of_them() -> None:
    assert list(CHECKS) == list(TITLES) == list(range(1, 15))
    assert check(Evidence()) == []


# ── 1: writes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def details(found: Any) -> list[str]:
    return [violation.detail for violation in found]


def test_what_was_acknowledged_is_stored_under_its_key() -> None:
    told = call("complete", key="k")
    stored = {"executor.command": [{"request_key": "k"}]}

    assert list(writes.check(Evidence(history=[told], rows=stored))) == []
    assert details(writes.check(Evidence(history=[told]))) == ["was acknowledged; no service has its request key k"]


def test_what_was_refused_is_not_stored_and_of_the_unknown_both_are_right() -> None:
    stored = {"executor.command": [{"request_key": "k"}]}

    [found] = writes.check(Evidence(history=[call("abort", "fail", key="k")], rows=stored))

    assert "was refused" in found.detail
    assert list(writes.check(Evidence(history=[call("abort", "unknown", key="k")], rows=stored))) == []
    assert list(writes.check(Evidence(history=[call("abort", "unknown", key="k")]))) == []


ALERT = {"fingerprint": "f", "status": "firing", "occurrences": 1}
APPROVAL = {"approval_id": "p", "state": "granted"}
TOLD = {"subject": "runbook.step_decided", "aggregate_id": "e"}


@pytest.mark.parametrize(
    ("said", "there"),
    [
        (call("alert", fingerprint="f", status="firing"), Evidence(rows={"incident.alert": [ALERT]})),
        (
            call("alert", fingerprint="f", status="resolved"),
            Evidence(rows={"incident.alert": [{**ALERT, "status": "resolved"}]}),
        ),
        (call("start", answer={"execution_id": "e"}), Evidence(rows={"executor.execution": [{"execution_id": "e"}]})),
        (call("grant", approval_id="p"), Evidence(changes=changes("approvals.approval", APPROVAL))),
        (
            call("reject", approval_id="p"),
            Evidence(changes=changes("approvals.approval", {**APPROVAL, "state": "rejected"})),
        ),
        (
            call("switch", reason="drill", answer={"changed": True}),
            Evidence(changes=changes("executor.kill_switch", {"reason": "drill"})),
        ),
        (call("decide", execution_id="e"), Evidence(changes=changes("executor.outbox", TOLD))),
        (
            call("abort", execution_id="e"),
            Evidence(rows={"executor.execution": [{"execution_id": "e", "state": "aborted"}]}),
        ),
    ],
    ids=lambda item: item.name if hasattr(item, "name") else "",
)
def test_each_acknowledged_write_is_looked_for_where_it_belongs(said: Any, there: Evidence) -> None:
    assert list(writes.check(replace(there, history=[said]))) == []
    [found] = writes.check(Evidence(history=[said]))
    assert (found.invariant, found.subject) == (1, f"call 1 ({said.name})")


# ── 2: delivery ──────────────────────────────────────────────────────────────────────────────────────────────────────

HEARD = {("EVENTS", "catalog"): ["incident.created"]}


def mark(number: int, place: int = 50, consumer: str = "catalog:EVENTS") -> Change:
    row = {"consumer": consumer, "event_id": f"event-{number}", "epoch": 1, "stream_seq": number}
    return Change(place, at(place), "catalog.inbox", {}, row)


def test_a_fact_that_was_written_published_and_applied_once_is_as_it_should_be() -> None:
    given = Evidence(changes=[outbox(1), mark(1)], messages=[event(1)], consumers=HEARD)

    assert list(delivery.check(given)) == []


def test_a_fact_that_was_never_published_is_found() -> None:
    [found] = delivery.check(Evidence(changes=[outbox(1)], consumers=HEARD))

    assert (found.invariant, found.subject) == (2, "event event-1")


@pytest.mark.parametrize("marks", [[], [mark(1), mark(1, 51)]])
def test_a_fact_that_was_applied_never_or_twice_is_found(marks: list[Change]) -> None:
    [found] = delivery.check(Evidence(changes=[outbox(1), *marks], messages=[event(1)], consumers=HEARD))

    assert found.detail == f"was applied {len(marks)} times by catalog:EVENTS"


def test_a_consumer_that_told_the_same_thing_twice_for_one_cause_is_found() -> None:
    told = [event(n, "runbook.matched", **{"ce-causationid": "c"}) for n in (1, 2)]

    [found] = delivery.check(Evidence(messages=told))

    assert (found.subject, found.detail) == ("event c", "made its consumer tell runbook.matched 2 times")


def test_an_alert_that_counts_more_reports_than_there_were_is_found() -> None:
    report = Message("INGRESS", 1, 1, "alert.event", {}, orjson.dumps({"fingerprint": "f", "status": "firing"}))
    given = Evidence(messages=[report], rows={"incident.alert": [{**ALERT, "occurrences": 2}]})

    [found] = delivery.check(given)

    assert found.detail == "counts 2 reports, of which 1 were ever sent"


# ── 3: order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("versions", "fine"), [([1, 2, 3], True), ([1, 3], False), ([2], False), ([1, 1], False)])
def test_versions_are_written_without_gaps(versions: list[int], *, fine: bool) -> None:
    found = list(order.check(Evidence(changes=[outbox(n, version=v) for n, v in enumerate(versions, 1)])))

    assert (found == []) is fine


def leaf(number: int, version: int) -> StoredEntry:
    body = {
        "kind": "event",
        "ev": {"id": f"event-{number}"},
        "agg": {"type": "incident", "id": "i", "version": version},
    }
    return StoredEntry(number, orjson.dumps(body), b"")


def test_versions_that_stand_in_the_log_in_another_order_are_found() -> None:
    given = Evidence(changes=[outbox(1), outbox(2, version=2)], log=Log([leaf(2, 2), leaf(1, 1)]))

    [found] = order.check(given)

    assert found.detail == "stands in the log as versions [2, 1]"


def test_a_version_that_goes_back_is_found() -> None:
    rising = changes("executor.execution", {"version": 1}, {"version": 2})
    falling = changes("executor.execution", {"version": 2}, {"version": 1})

    assert list(order.check(Evidence(changes=rising))) == []
    assert details(order.check(Evidence(changes=falling))) == ["version went from 2 to 1"]


# ── 4: the log ───────────────────────────────────────────────────────────────────────────────────────────────────────


def logged(store: Store, *facts: Change) -> Evidence:
    return Evidence(changes=facts, log=Log(store.entries, store.state, store.heads))


def fact(number: int) -> Change:
    return Change(
        number, at(0), "incident.outbox", {}, {"event_id": message(number).event.id, "subject": "incident.created"}
    )


def good() -> Store:
    store = Store()
    store.append(*ITEMS[:7])
    return store


def test_a_log_that_verifies_and_has_every_fact_is_as_it_should_be() -> None:
    assert list(log.check(logged(good(), fact(1), fact(7)))) == []


def test_a_log_without_a_fact_and_facts_without_a_log_are_found() -> None:
    assert details(log.check(logged(good(), fact(8)))) == ["was written to an outbox and is not in the log"]
    assert details(log.check(Evidence(changes=[fact(1)]))) == ["does not exist; 1 facts were written"]


def test_a_leaf_that_was_changed_and_one_that_is_gone_are_found() -> None:
    bent, short = good(), good()
    bent.entries[2] = replace(bent.entries[2], leaf=bent.entries[3].leaf)
    del short.entries[-1]

    assert "does not match its stored hash" in next(log.check(logged(bent))).detail
    assert "its state says 7" in next(log.check(logged(short))).detail


def test_a_conflict_and_a_gap_are_found() -> None:
    assert ["conflict" in words or "gap" in words for words in details(log.check(logged(stored())))] == [True, True]


# ── 9: terminal ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "row", "moves", "fine"),
    [
        ("executor.execution", {"execution_id": "e"}, ("running", "completed"), True),
        ("executor.execution", {"execution_id": "e"}, ("completed", "completed"), True),
        ("executor.execution", {"execution_id": "e"}, ("aborted", "running"), False),
        ("approvals.approval", {"approval_id": "p"}, ("granted", "revoked"), True),
        ("approvals.approval", {"approval_id": "p"}, ("expired", "granted"), False),
    ],
)
def test_terminal_states_stand(table: str, row: dict[str, str], moves: tuple[str, ...], *, fine: bool) -> None:
    noted = changes(table, *({**row, "state": state} for state in moves))

    assert (list(states.check_terminal(Evidence(changes=noted))) == []) is fine


def test_an_action_moves_as_its_life_allows_and_only_so() -> None:
    decided = attempt({"state": "running"}, {"state": "unknown"}, {"state": "failed"})
    revived = attempt({"state": "running"}, {"state": "failed"}, {"state": "running"})

    assert list(states.check_terminal(Evidence(changes=decided))) == []
    assert details(states.check_terminal(Evidence(changes=revived))) == ["was failed and became running"]


def test_a_row_that_ended_and_vanished_is_found() -> None:
    gone = Change(9, at(9), "executor.execution", {"execution_id": "e", "state": "failed"}, {})

    assert details(states.check_terminal(Evidence(changes=[gone]))) == ["was failed and became nothing"]


# ── 10: timers ───────────────────────────────────────────────────────────────────────────────────────────────────────

SET = {"kind": "wait", "ref_id": "e", "state": "set", "due_at": "2026-03-01T10:00:05+00:00", "fired_at": None}
FIRED = {**SET, "state": "fired", "fired_at": "2026-03-01T10:00:06+00:00"}
TWICE = {**FIRED, "fired_at": "2026-03-01T10:00:07+00:00"}
EARLY = {**FIRED, "fired_at": "2026-03-01T10:00:04+00:00"}
CANCELLED = {**SET, "state": "cancelled"}


@pytest.mark.parametrize(
    ("life", "words"),
    [
        ([SET, FIRED], ""),
        ([SET, CANCELLED], ""),
        ([SET, FIRED, SET, TWICE], ""),
        ([SET, FIRED, TWICE], "fired at 2026-03-01T10:00:06+00:00 and at 2026-03-01T10:00:07+00:00"),
        ([SET, EARLY], "was due at"),
        ([SET, CANCELLED, FIRED], "had been cancelled and fired"),
    ],
)
def test_timers_fire_once_not_early_and_not_when_cancelled(life: list[dict[str, Any]], words: str) -> None:
    found = details(timers.check(Evidence(changes=changes("executor.timer", *life))))

    assert [words in detail for detail in found] == ([True] if words else [])


def test_a_timer_that_never_fired_is_found() -> None:
    given = Evidence(rows={"approvals.timer": [SET]}, gathered_at=at(60))

    assert details(timers.check(given)) == ["is due since 2026-03-01T10:00:05+00:00"]
    assert list(timers.check(replace(given, gathered_at=at(6)))) == []


# ── 11 and 12: quiet, letters ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_to_do_is_found() -> None:
    assert list(quiet.check(Evidence())) == []
    assert details(quiet.check(Evidence(unsettled=["executor: 3 unpublished facts"]))) == [
        "executor: 3 unpublished facts"
    ]


POISON = Injury("poison", "schema", at(0), at(1), {"stream": "EVENTS", "seq": 5, "subject": "incident.created"})
LETTER = {"consumer": "catalog:EVENTS", "stream_seq": 5, "subject": "incident.created", "reason": "malformed"}


def test_every_poison_is_a_dead_letter_and_nothing_else_is() -> None:
    buried = {"catalog.dead_letter": [LETTER]}

    assert list(letters.check(Evidence(injuries=[POISON], consumers=HEARD, rows=buried))) == []
    assert details(letters.check(Evidence(injuries=[POISON], consumers=HEARD))) == [
        "catalog:EVENTS has no dead letter of it"
    ]
    assert details(letters.check(Evidence(consumers=HEARD, rows=buried))) == [
        "is a dead letter of catalog:EVENTS: malformed"
    ]


# ── 13: health ───────────────────────────────────────────────────────────────────────────────────────────────────────


def look(second: float, *, silent: bool = True, pid: int = 7, control: float = 0.01) -> Look:
    return Look("executor", pid, at(second), 1.0 if silent else 0.01, "silent" if silent else "answered", control)


@pytest.mark.parametrize(
    ("looks", "fine"),
    [
        ([look(0, silent=False), look(1, silent=False)], True),
        ([look(0), look(1, silent=False)], True),
        ([look(0), look(1)], False),
        ([look(0, control=0.9), look(1, control=0.9)], True),
        ([look(0), look(1), look(9, silent=False, pid=8)], True),
        ([look(0), look(1, pid=8)], True),
    ],
    ids=["answers", "late once", "stands still", "slow machine", "ended itself", "another process"],
)
def test_a_process_answers_or_ends(looks: list[Look], *, fine: bool) -> None:
    assert (list(health.check(Evidence(looks=looks))) == []) is fine


def test_a_process_that_was_frozen_is_not_to_blame() -> None:
    frozen = Injury("freeze", "executor", at(-1), at(2))

    assert list(health.check(Evidence(looks=[look(0), look(1)], injuries=[frozen]))) == []


# ── 14: traces ───────────────────────────────────────────────────────────────────────────────────────────────────────

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01"
REPORT = Message(
    "INGRESS", 1, 1, "alert.event", {"traceparent": TRACE}, orjson.dumps({"labels": {"case": "c"}, "status": "firing"})
)


def traced(execution: str = TRACE, effect: str = TRACE, entry: str = TRACE) -> Evidence:
    return evidence(
        rows={"executor.execution": [{**RUN, "traceparent": execution}]},
        ledger=Ledger(effects=[{**EFFECT, "trace": effect}]),
        messages=[REPORT],
        log=Log(traces={"event-2": entry}, executions={"event-2": RUN["execution_id"]}),
    )


def test_one_trace_links_alert_effect_and_entry() -> None:
    assert list(traces.check(traced())) == []


@pytest.mark.parametrize(
    ("bent", "words"),
    [
        ({"execution": OTHER}, "is not in the trace of the alert"),
        ({"effect": OTHER}, "took effect in trace"),
        ({"entry": OTHER}, "took effect in trace"),
    ],
)
def test_a_trace_that_is_cut_is_found(bent: dict[str, str], words: str) -> None:
    [found] = traces.check(traced(**bent))

    assert (found.invariant, words in found.detail) == (14, True)
