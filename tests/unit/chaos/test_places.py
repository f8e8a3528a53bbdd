"""Invariant 6 for concurrency keys, on small evidence: when it holds, and what breaks it."""

from collections.abc import Mapping
from typing import Any

from runbook_ranger.chaos.evidence import Evidence, Ledger
from runbook_ranger.chaos.invariants import CHECKS, places
from tests.unit.chaos.samples import ATTEMPT, EFFECT, RUN, SPEC, evidence

OTHER_ATTEMPT = {**ATTEMPT, "action_id": "action-2", "execution_id": "execution-2", "idem_key": "other"}
OTHER_RUN = {**RUN, "execution_id": "execution-2"}
OTHER_EFFECT = {
    **EFFECT, "call": 2, "key": "other", "fence": 8, "resource": "another",
    "start": "2026-03-01T10:00:05+00:00", "end": "2026-03-01T10:00:06+00:00",
}  # fmt: skip
LATER = {"start": "2026-03-01T10:00:09.500000+00:00", "end": "2026-03-01T10:00:10+00:00"}


def two(*, limit: int | None = 1, run: Mapping[str, Any] = RUN, other: Mapping[str, Any] = OTHER_EFFECT) -> Evidence:
    """Two executions of one key, each with an effect on a resource of its own."""
    wanted: dict[str, Any] = {"key": "chaos", "policy": "queue"} | ({} if limit is None else {"limit": limit})
    spec = {**SPEC, "body": {**SPEC["body"], "concurrency": wanted}}
    rows = {
        "executor.action_log": [ATTEMPT, OTHER_ATTEMPT],
        "executor.execution": [run, OTHER_RUN],
        "executor.spec": [spec],
    }
    return evidence(rows=rows, ledger=Ledger(effects=[EFFECT, other]))


def test_one_after_the_other_is_as_it_should_be() -> None:
    assert list(places.check(two(other={**OTHER_EFFECT, **LATER}))) == []


def test_one_that_changes_something_while_another_lives_is_told_with_it() -> None:
    for limit in (1, None):
        [found] = places.check(two(limit=limit))

        assert (found.invariant, found.subject) == (6, "concurrency key chaos")
        assert found.detail == (
            "execution execution-2 changed something while execution-1 lived; at most 1 may at once"
        )
        assert found in list(CHECKS[6](two(limit=limit)))


def test_one_that_never_ended_has_its_place_still() -> None:
    assert len(list(places.check(two(run={**RUN, "ended_at": None}, other={**OTHER_EFFECT, **LATER})))) == 1


def test_as_many_as_may_are_as_it_should_be_and_so_are_runbooks_without_a_key() -> None:
    assert list(places.check(two(limit=2))) == []
    assert list(places.check(evidence())) == []
