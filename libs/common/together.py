"""Writes of one transaction that have nothing to do with each other go to the server as one statement.

Each is a part of one `WITH`: a round trip, an execution and a wake-up for all of them. Parts see the same moment and
none of another's rows, so two that may meet in a row are not sent together: they stay statements, one after the other.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg
from msgspec import Struct

from libs.common.database import Tx

_PARAMETER: Final = re.compile(r"\$(\d+)")


class Write(Struct, frozen=True):
    """An INSERT, UPDATE or DELETE without RETURNING, and its parameters.

    `returning` names columns that are wanted back; `notify` is a channel that hears of the commit.
    """

    sql: str
    parameters: Sequence[Any]
    returning: tuple[str, ...] = ()
    notify: str = ""


class Written(Struct, frozen=True):
    """What became of a write: how many rows, and of each the columns that were wanted."""

    count: int
    rows: list[tuple[Any, ...]]


async def write(tx: "Tx | asyncpg.Connection[asyncpg.Record]", writes: Sequence[Write]) -> list[Written]:
    """Do all of them, or none, in one round trip; what became of each, in order.

    Raises:
        asyncpg.PostgresError: the server refused one; the transaction is over.
    """
    if not writes:
        return []
    channels = tuple(dict.fromkeys(each.notify for each in writes if each.notify))
    text = _statement(tuple((each.sql, each.returning) for each in writes), len(channels))
    row = await tx.fetchrow(text, *(value for each in writes for value in each.parameters), *channels)
    if row is None:
        raise LookupError("a statement of parts always answers with one row")
    answers = iter(row.values())
    return [_written(each, [next(answers) for _ in each.returning or ("count",)]) for each in writes]


def _written(each: Write, answers: list[Any]) -> Written:
    if not each.returning:
        return Written(answers[0], [])
    return Written(len(answers[0]), list(zip(*answers, strict=True)))


@lru_cache(maxsize=256)
def _statement(parts: tuple[tuple[str, tuple[str, ...]], ...], channels: int) -> str:
    """The statement of these parts: few ways of combining them occur, and each is prepared once a connection."""
    before = 0
    bodies, answers = [], []
    for number, (sql, returning) in enumerate(parts):
        wanted = ", ".join(returning) or "1"
        bodies.append(f"part{number} AS ({_moved(sql, before)} RETURNING {wanted})")
        found = [f"ARRAY(SELECT {column} FROM part{number})" for column in returning]
        answers += found or [f"(SELECT count(*) FROM part{number})"]
        before += _parameters(sql)
    answers += [f"pg_notify(${before + number}, '')" for number in range(1, channels + 1)]
    return f"WITH {', '.join(bodies)} SELECT {', '.join(answers)}"


def _moved(sql: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", sql.strip())


def _parameters(sql: str) -> int:
    return max((int(number) for number in _PARAMETER.findall(sql)), default=0)
