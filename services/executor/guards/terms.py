"""The terms under which an execution changes things, as they stand in its row and in its runbook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from libs.runbook import durations
from libs.runbook.spec import Runbook


def own(runbook_id: str) -> str:
    """The key of a limit that names none: its runbook's. What an author writes gets another prefix."""
    return f"runbook:{runbook_id}"


def given(key: str) -> str:
    """A key that an author wrote, as it was rendered."""
    return f"key:{key}"


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """At most `resources` distinct resources within `window` seconds, over all that have this key."""

    key: str
    resources: int
    window: float


@dataclass(frozen=True, slots=True)
class BreakerTerms:
    """Opens after so many failed executions on one resource within `window` seconds."""

    failures: int
    window: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What a claim asks before each change of an execution; seconds. What its runbook does not name is None."""

    runbook_id: str
    budget: BudgetTerms | None = None
    cooldown: float | None = None
    breaker: BreakerTerms | None = None

    @classmethod
    def of(cls, spec: Runbook, keys: Mapping[str, str]) -> Self | None:
        """The terms of an execution of this runbook whose keys are these; None when it has none."""
        terms = cls(
            spec.id,
            BudgetTerms(
                given(keys["budget"]) if "budget" in keys else own(spec.id),
                spec.budget.resources,
                durations.seconds(spec.budget.window),
            )
            if spec.budget
            else None,
            durations.seconds(spec.cooldown) if spec.cooldown else None,
            breaker_terms(spec),
        )
        return None if (terms.budget, terms.cooldown, terms.breaker) == (None, None, None) else terms

    def to_json(self) -> str:
        """The terms as the text of a jsonb value."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        data: dict[str, Any] = orjson.loads(text)
        budget, breaker = data["budget"], data["breaker"]
        return cls(
            data["runbook_id"],
            BudgetTerms(**budget) if budget else None,
            data["cooldown"],
            BreakerTerms(**breaker) if breaker else None,
        )


def breaker_terms(spec: Runbook) -> BreakerTerms | None:
    """When this runbook's breaker opens, if it has one."""
    if spec.breaker is None:
        return None
    return BreakerTerms(spec.breaker.failures, durations.seconds(spec.breaker.window))


def spoken(seconds: float) -> str:
    """A length of time as runbooks write it."""
    for size, unit in ((3600, "h"), (60, "m"), (1, "s")):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{round(seconds * 1000)}ms"
