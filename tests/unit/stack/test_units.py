"""A unit's life: start, health, back-off, stop."""

import signal

import pytest

from runbook_ranger.stack.errors import StoreBusyError
from runbook_ranger.stack.units import CALM_INTERVAL, LONGEST_DELAY, Look, State, Unit, ending


class Process:
    """A child whose end the test decides."""

    def __init__(self) -> None:
        self.pid = 1
        self.code: int | None = None
        self.signals: list[signal.Signals] = []

    def poll(self) -> int | None:
        return self.code

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)


class Health:
    """A readiness whose answer the test decides."""

    def __init__(self, answer: str | None = "") -> None:
        self.answer = answer

    def step(self) -> str | None:
        return self.answer


def unit(health: Health | None = None) -> tuple[Unit, list[Process]]:
    processes: list[Process] = []

    def start() -> Process:
        processes.append(Process())
        return processes[-1]

    return Unit("service", 2, start, health or Health(), grace=5), processes


def started(health: Health | None = None) -> tuple[Unit, list[Process]]:
    made, processes = unit(health)
    assert made.launch(100)
    return made, processes


def test_it_is_ready_once_its_readiness_says_so() -> None:
    health = Health(None)
    made, _ = started(health)

    assert not made.check(101)
    health.answer = "readyz says postgres down"
    assert made.check(102)
    assert (made.state, made.detail) == (State.STARTING, "readyz says postgres down")
    health.answer = ""
    assert made.check(103)
    assert (made.state, made.detail) == (State.READY, "")


def test_a_ready_unit_that_complains_stays_up_and_says_what_is_missing() -> None:
    health = Health()
    made, _ = started(health)
    made.check(101)
    health.answer = "readyz says nats down"

    made.check(104)

    assert (made.state, made.detail) == (State.READY, "readyz says nats down")


def test_in_calm_times_a_ready_unit_is_asked_less_often_until_it_complains() -> None:
    health = Health()
    made, _ = started(health)
    made.check(101)
    health.answer = "readyz says nats down"

    assert not made.check(105, calm=True)
    assert made.check(101 + CALM_INTERVAL, calm=True)
    health.answer = ""
    assert made.check(103.5 + CALM_INTERVAL, calm=True)


@pytest.mark.parametrize("code", [0, 1, -9])
def test_whatever_the_exit_code_it_is_started_again_after_a_pause(code: int) -> None:
    made, processes = started()
    processes[0].code = code

    assert made.reap(101) == code
    assert made.state is State.BACKOFF
    assert not made.launch(101.1)
    assert made.launch(101.21)
    assert (made.restarts, len(processes)) == (1, 2)


def test_pauses_double_up_to_a_limit_and_begin_anew_after_half_a_minute_of_health() -> None:
    made, processes = started()
    now, pauses = 100.0, []
    for _ in range(8):
        processes[-1].code = 1
        made.reap(now)
        pauses.append(round(made.due - now, 3))
        now = made.due
        made.launch(now)

    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_DELAY, LONGEST_DELAY]

    processes[-1].code = 1
    made.reap(now + 31)
    assert made.due == pytest.approx(now + 31.2)


def test_a_busy_store_is_tried_again_without_counting_as_a_failure() -> None:
    made, _ = unit()

    def busy() -> Process:
        raise StoreBusyError("postgres")

    made.start = busy

    assert not made.launch(100)
    assert (made.state, made.restarts) == (State.WAITING, 0)
    assert "in use" in made.detail


def test_a_unit_that_cannot_start_backs_off_and_says_why() -> None:
    made, _ = unit()

    def broken() -> Process:
        raise LookupError("no such account")

    made.start = broken

    assert made.launch(100)
    assert (made.state, made.detail) == (State.BACKOFF, "cannot start: no such account")


def test_a_stop_is_orderly_first_and_a_kill_after_the_grace() -> None:
    made, processes = started()

    made.stop(200)
    made.stop(201)
    made.press(204)
    assert processes[0].signals == [signal.SIGTERM]

    made.press(206)
    assert processes[0].signals == [signal.SIGTERM, signal.SIGKILL]

    processes[0].code = -9
    made.reap(207)
    assert made.state is State.STOPPED
    assert not made.launch(300)


def test_a_hurried_stop_kills_at_once() -> None:
    made, processes = started()
    made.stop(200)

    made.hurry()
    made.press(200.1)

    assert processes[0].signals[-1] is signal.SIGKILL


def test_a_unit_without_a_process_is_stopped_at_once() -> None:
    made, _ = unit()

    made.stop(100)

    assert made.state is State.STOPPED


def test_a_look_is_never_undecided() -> None:
    assert Look(lambda: True).step() == ""
    assert Look(lambda: False, "importing").step() == "importing"


def test_endings_are_told_in_words() -> None:
    assert (ending(0), ending(-9), ending(-250)) == ("ended with 0", "killed by SIGKILL", "killed by signal 250")
