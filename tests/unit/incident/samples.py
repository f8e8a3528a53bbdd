"""Alerts and problems to fold in tests."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from libs.common.contracts.alert import Alert
from services.incident.model import Incident
from services.incident.problems import Outcome, Problem
from services.incident.sla import Sla

START = datetime(2026, 3, 1, 9, 59, 50, tzinfo=UTC)
NOW = START + timedelta(seconds=10)
LATER = NOW + timedelta(minutes=5)


def alert(status: str = "firing", *, starts: datetime = START, **more: Any) -> Alert:
    """One report of a storage latency alert."""
    body = {
        "name": "storage_latency_high",
        "severity": "high",
        "labels": {"service": "evidence"},
        "fingerprint": "f1",
        "starts_at": starts,
        "status": status,
        **more,
    }
    return Alert.model_validate(body)


def ids() -> Callable[[], str]:
    """Ids in the order of their making."""
    numbers = count(1)
    return lambda: f"00000000-0000-7000-8000-{next(numbers):012d}"


class Story:
    """A problem to which reports are told one after the other."""

    def __init__(self, problem: Problem | None = None) -> None:
        self.problem = problem or Problem("default", "f1")
        self.new_id = ids()

    def report(self, status: str = "firing", *, now: datetime = NOW, **more: Any) -> Outcome:
        """Fold one report in."""
        return self.problem.report(alert(status, **more), now=now, new_id=self.new_id, sla=Sla())

    def subjects(self) -> list[str]:
        """What was told, in order."""
        return [step.fact.subject for step in self.problem.story]

    def versions(self) -> list[int]:
        """The version of each thing told."""
        return [step.incident.version for step in self.problem.story]

    def incident(self) -> Incident:
        """The only incident there is."""
        [incident] = self.problem.incidents.values()
        return incident
