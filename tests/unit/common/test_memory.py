"""Memory is given back once after each time of work, and never in the middle of it."""

from libs.common.memory import CALM, LOOK_SECONDS, Memory


class Process:
    """CPU and clock of a process whose work the test decides."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._spent, self._now = memory._spent, memory._looked

    def lives(self, share: float) -> bool:
        """One interval with this share of a core; whether memory was given back at its end."""
        self._spent += share * LOOK_SECONDS
        self._now += LOOK_SECONDS
        return self._memory.look(self._spent, self._now)


def test_it_is_given_back_once_after_each_time_of_work() -> None:
    trims: list[int] = []
    process = Process(Memory(lambda pad: trims.append(pad) or 1))

    given = [process.lives(share) for share in (0.9, 0.5, CALM / 2, CALM / 2, 0.3, CALM / 2, CALM / 2)]

    assert given == [False, False, True, False, False, True, False]
    assert trims == [0, 0]


def test_what_starting_took_is_given_back_too() -> None:
    process = Process(Memory())

    assert [process.lives(CALM / 2), process.lives(CALM / 2)] == [True, False]
