"""Rows as arrays, one a column: how a batch becomes one statement."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from libs.common.database import Uuid


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """The columns of rows, for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)]


def uuids(ids: Iterable[str]) -> list[uuid.UUID]:
    """Ids as the driver takes them."""
    return [Uuid(i) for i in ids]


def json(value: Any) -> str:
    """A value as the text of a jsonb parameter."""
    return orjson.dumps(value).decode()
