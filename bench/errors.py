"""Why a bench gives no figure.

BenchFailed
├── WorkWrong     what it timed was not done, or not as it should have been
└── NotInTime     it waited for something that did not come
"""


class BenchFailed(Exception):
    """A figure without the work behind it is worth nothing: the whole bench fails, with exit code 1."""


class WorkWrong(BenchFailed):
    """What was found does not add up; the text says what was wanted and what is there."""


class NotInTime(BenchFailed):
    """Something awaited did not happen within its time."""
