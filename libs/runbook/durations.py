"""Durations as runbooks write them: an integer and one unit, such as `500ms`, `60s`, `10m` or `1h`."""

import re
from typing import Final

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_SHAPE: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h)", re.ASCII)
MAX_MILLISECONDS: Final = 7 * 24 * 3_600_000
PATTERN: Final = r"^[1-9][0-9]{0,8}(ms|s|m|h)$"


def milliseconds(duration: str) -> int:
    """The duration in whole milliseconds.

    Raises:
        ValueError: not an integer with one unit, zero, or longer than seven days.
    """
    match = _SHAPE.fullmatch(duration)
    if match is None:
        raise ValueError("must be a whole number and a unit (ms, s, m, h), such as 60s")
    value = int(match[1]) * _UNITS[match[2]]
    if value > MAX_MILLISECONDS:
        raise ValueError("is longer than seven days")
    return value


def seconds(duration: str) -> float:
    """The duration in seconds.

    Raises:
        ValueError: as `milliseconds`.
    """
    return milliseconds(duration) / 1_000
