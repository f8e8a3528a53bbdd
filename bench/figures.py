"""What a bench brings home: figures with their goals and limits, as values, JSON and lines for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity, measured once a round.

    `limit` is what the bare parts reached for the same quantity, in the same rounds. Goals: the median is at least
    (`lower_is_better`: at most) `goal`, and the ratio to the limit at least (at most) `goal_ratio`.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    lower_is_better: bool = False
    goal: float | None = None
    goal_ratio: float | None = None
    limit: tuple[float, ...] = ()
    limit_name: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """The median of what each round reached of its own limit; None without a limit."""
        if not self.limit:
            return None
        if len(self.limit) == len(self.values):
            return statistics.median(value / limit for value, limit in zip(self.values, self.limit, strict=True))
        return self.median / statistics.median(self.limit)

    @property
    def met(self) -> bool | None:
        """Whether every goal is met; None without one."""
        goals = [(self.median, self.goal), (self.ratio, self.goal_ratio)]
        asked = [(value, goal) for value, goal in goals if value is not None and goal is not None]
        if not asked:
            return None
        return all(value <= goal if self.lower_is_better else value >= goal for value, goal in asked)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The figure that `as_json` gave."""
        known = {key: found[key] for key in cls.__slots__ if key in found}
        return cls(**{**known, "values": tuple(known["values"]), "limit": tuple(known.get("limit", ()))})

    def as_json(self) -> dict[str, Any]:
        """Values, and what follows from them for whoever reads the file."""
        return {**asdict(self), "median": self.median, "ratio": self.ratio, "met": self.met}


@dataclass(frozen=True, slots=True)
class Report:
    """One bench: its figures, what was verified afterwards, and notes that explain them (CPU a step, memory…)."""

    bench: str
    figures: tuple[Figure, ...]
    verified: Mapping[str, Any]
    quick: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The report that `as_json` gave."""
        figures = tuple(Figure.from_json(figure) for figure in found["figures"])
        return cls(found["bench"], figures, found["verified"], found["quick"], found["notes"], found["seconds"])

    def as_json(self) -> dict[str, Any]:
        """As stored and compared."""
        return {
            "bench": self.bench,
            "quick": self.quick,
            "seconds": round(self.seconds, 1),
            "figures": [figure.as_json() for figure in self.figures],
            "verified": dict(self.verified),
            "notes": dict(self.notes),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def shown(value: float) -> str:
    """A number with three significant digits, thousands in groups."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
