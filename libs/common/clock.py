"""The clock, as a value that is handed in. Leases and timers use the database's clock, never this one."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns an aware datetime in UTC."""


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`moment` as RFC 3339 in UTC with six digits: `2026-03-01T09:59:50.000000Z`."""
    told = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{told.isoformat(timespec='microseconds')[:-6]}Z"
