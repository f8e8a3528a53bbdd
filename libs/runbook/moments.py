"""Moments as runbooks write them: RFC 3339 with an offset, such as `2026-03-01T10:00:00Z`."""

import re
from datetime import UTC, datetime
from typing import Final

_SHAPE: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def moment(text: str) -> str:
    """The same moment in UTC, in one spelling.

    Raises:
        ValueError: it is no such moment.
    """
    if _SHAPE.fullmatch(text) is None:
        raise ValueError("must be a moment with an offset, such as 2026-03-01T10:00:00Z")
    return datetime.fromisoformat(text.upper()).astimezone(UTC).isoformat().replace("+00:00", "Z")
