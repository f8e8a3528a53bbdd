"""Which runbook an alert finds: every condition must hold, and the most specific trigger wins."""

from typing import Any

import pytest

from libs.runbook.spec import Runbook
from libs.runbook.triggers import best, fit
from tests.unit.runbook.samples import alert, runbook


def triggered(*triggers: dict[str, Any], runbook_id: str = "sample") -> Runbook:
    return runbook({"id": "a"}, triggers=list(triggers), id=runbook_id)


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ({"alert": "storage_latency_high"}, (1, 1)),
        ({"alert": ["cpu_high", "storage_latency_high"]}, (1, 0)),
        ({"alert": "storage_latency"}, None),
        ({"alert": "STORAGE_LATENCY_HIGH"}, None),
        ({"severity": "high"}, (1, 1)),
        ({"severity": ["high", "critical"]}, (1, 0)),
        ({"severity": "low"}, None),
        ({"labels": {"shard": "shard-1"}}, (1, 1)),
        ({"labels": {"shard": ["shard-1", "shard-2"], "standby": "shard-2"}}, (2, 1)),
        ({"labels": {"shard": "shard-1", "zone": "eu"}}, None),
        ({"alert": "storage_latency_high", "severity": "high", "labels": {"shard": "shard-1"}}, (3, 3)),
        ({"alert": "storage_latency_high", "severity": "low"}, None),
    ],
)
def test_a_trigger_fits_when_every_condition_holds(trigger: dict[str, Any], expected: tuple[int, int] | None) -> None:
    assert fit(triggered(trigger), alert()) == expected


def test_a_runbook_is_as_specific_as_its_best_trigger_that_fits() -> None:
    spec = triggered({"severity": "high"}, {"severity": "high", "labels": {"shard": "shard-1"}}, {"severity": "low"})

    assert fit(spec, alert()) == (2, 2)


def test_a_runbook_without_triggers_never_fits() -> None:
    assert fit(triggered(), alert()) is None


def test_the_most_specific_runbook_is_the_best() -> None:
    general = triggered({"alert": "storage_latency_high"}, runbook_id="a-general")
    among = triggered({"alert": "storage_latency_high", "severity": ["high", "low"]}, runbook_id="b-among")
    exact = triggered({"alert": "storage_latency_high", "severity": "high"}, runbook_id="c-exact")

    assert best([general, among, exact], alert()) == exact
    assert best([general, among], alert()) == among


def test_equally_specific_runbooks_are_taken_by_their_id() -> None:
    specs = [triggered({"severity": "high"}, runbook_id=name) for name in ("b", "a", "c")]

    assert best(specs, alert()) == specs[1]
    assert best(reversed(specs), alert()) == specs[1]


def test_nothing_fits_nothing() -> None:
    assert best([triggered({"alert": "other"})], alert()) is None
