"""A seed draws the same faults again; the history tells what is known of each call."""

from pathlib import Path

import pytest

from runbook_ranger.chaos import history
from runbook_ranger.chaos.history import History
from runbook_ranger.chaos.points import APART, POINTS
from runbook_ranger.chaos.schedule import KINDS, ON_REQUEST, draw

WORKERS = ["worker-1", "worker-2"]


def test_a_seed_repeats_its_schedule_and_another_seed_has_another() -> None:
    assert draw(7, 60, WORKERS) == draw(7, 60, WORKERS)
    assert draw(7, 60, WORKERS).faults != draw(8, 60, WORKERS).faults


def test_every_kind_comes_in_a_long_run_and_those_on_request_only_then() -> None:
    drawn = {fault.kind for fault in draw(1, 3600, WORKERS).faults}

    assert drawn == set(KINDS)
    assert {fault.kind for fault in draw(1, 600, WORKERS, ["erase", "kill"]).faults} == {*ON_REQUEST, "kill"}


def test_faults_come_in_order_and_within_the_run() -> None:
    moments = [fault.at for fault in draw(3, 60, WORKERS).faults]

    assert moments == sorted(moments)
    assert all(0 < moment < 60 for moment in moments)


def test_a_kind_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="no such fault: earthquake; there are kill"):
        draw(1, 60, WORKERS, ["kill", "earthquake"])


def test_each_crash_point_comes_once_when_it_is_asked_for() -> None:
    schedule = draw(1, 60, WORKERS, points=True)

    assert [(fault.point, fault.victim) for fault in schedule.points] == [(p.name, p.process) for p in POINTS]
    assert draw(1, 60, WORKERS).points == ()


def test_the_named_points_are_those_that_the_product_has() -> None:
    source = "".join(path.read_text() for folder in ("libs", "services") for path in Path(folder).rglob("*.py"))
    known = {part.split('"')[0] for part in source.split('crash_point("')[1:]}

    assert {point.name for point in POINTS} | APART == known


def test_a_call_whose_outcome_was_never_written_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    kept = History(path)
    kept.end(kept.begin("grant", {"approval_id": "a"}, "key-1"), "ok", status=200, answer={"state": "granted"})
    kept.begin("abort", {"execution_id": "e"}, "key-2")
    kept.close()
    with path.open("ab") as file:
        file.write(b'{"event": "ok", "num')  # torn by a crash

    granted, aborted = history.read(path)

    assert (granted.name, granted.outcome, granted.status, granted.answer) == ("grant", "ok", 200, {"state": "granted"})
    assert (aborted.name, aborted.outcome, aborted.key) == ("abort", "unknown", "key-2")
