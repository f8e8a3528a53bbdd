"""Moments as people write them: RFC 3339 with an offset, or a duration, which is so long ago."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from runbook_ranger.cli.errors import WrongUsage

_AGO: Final = re.compile(r"([1-9][0-9]{0,6})(s|m|h|d)", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, *, now: datetime) -> str:
    """The moment in UTC as the gateway takes it; `2h` is two hours before `now`.

    Raises:
        WrongUsage: it is none.
    """
    from libs.runbook import moments

    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return moments.moment((now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat())
        return moments.moment(text)
    except (ValueError, OverflowError):
        raise WrongUsage(
            f"{text!r} is no moment.", fix="Write 2026-03-01T10:00:00Z, or how long ago: 90s, 15m, 2h, 7d."
        ) from None


def second(since: int) -> str:
    """A second of the epoch as a moment; as a number where there is no such year."""
    try:
        return f"{datetime.fromtimestamp(since, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"second {since} of the epoch"
