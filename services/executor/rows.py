"""Rows as answers hold them: ids and moments as text."""

import uuid
from typing import Any

import asyncpg
import orjson


def plain(row: asyncpg.Record) -> dict[str, Any]:
    """A row as JSON-ready data."""
    found = dict(row)
    for key, value in found.items():
        if isinstance(value, uuid.UUID):
            found[key] = str(value)
        elif hasattr(value, "isoformat"):
            found[key] = value.isoformat()
        elif key in {"evidence", "late"} and value is not None:
            found[key] = orjson.loads(value)
    return found
