"""What a process does every so often falls on the same moments, none of them later than it was asked for."""

import asyncio

import pytest

from libs.common import rounds

EARLY = rounds.EARLY_SECONDS


def wait_at(now: float, seconds: float, monkeypatch: pytest.MonkeyPatch) -> float:
    class Loop:
        def time(self) -> float:
            return now

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)
    return rounds.until_next(seconds)


@pytest.mark.parametrize(("now", "seconds"), [(100.2, 1.0), (100.2, 0.5), (7.0, 5.0), (3599.0, 3600.0), (0.013, 0.01)])
def test_the_next_moment_is_a_multiple_and_at_most_that_far_off(
    now: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = wait_at(now, seconds, monkeypatch)

    assert 0 < wait <= seconds + EARLY
    assert (now + wait) / seconds == pytest.approx(round((now + wait) / seconds))


def test_a_timer_that_is_a_little_early_does_not_do_the_same_round_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait_at(99.9996, 1.0, monkeypatch) == pytest.approx(1.0004)
