"""What was asked of the product and how that went: JSON lines, each on the disk before the next step is taken.

A call is written twice: when it is made, and when its outcome is known. A call without an outcome, and one that timed
out or whose connection was cut, is `unknown`: it may have taken effect or not, and both are right.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from runbook_ranger.demo.journal import Journal

Outcome: TypeAlias = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Times are seconds since 1970; `key` is its idempotency key; `answer` what was said, if anything."""

    number: int
    name: str
    began: float
    about: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    outcome: Outcome = "unknown"
    ended: float = 0.0
    status: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)


class History:
    """Writes the history of one run."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._count = 0

    def begin(self, name: str, about: Mapping[str, Any], key: str = "") -> Call:
        """Note that a call is about to be made."""
        self._count += 1
        call = Call(self._count, name, time.time(), dict(about), key)
        self._journal.append({"event": "invoke", **asdict(call)})
        return call

    def end(self, call: Call, outcome: Outcome, *, status: int = 0, answer: Mapping[str, Any] | None = None) -> Call:
        """Note how it went."""
        done = Call(
            call.number, call.name, call.began, call.about, call.key, outcome, time.time(), status, answer or {}
        )
        self._journal.append({"event": outcome, **asdict(done)})
        return done

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()


def read(path: Path) -> list[Call]:
    """The calls of a history, in the order in which they were made."""
    journal = Journal(path)
    journal.close()
    return calls(journal.records)


def calls(records: Iterable[Mapping[str, Any]]) -> list[Call]:
    """One call a number; the later record of two stands."""
    found: dict[int, Call] = {}
    for record in records:
        found[record["number"]] = Call(**{key: value for key, value in record.items() if key != "event"})
    return list(found.values())
