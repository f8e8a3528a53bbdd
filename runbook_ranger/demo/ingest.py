"""The target's state: two shards, an active one, a cache; every call and every effect in a ledger.

All state is the fold of the journal's records, so that a restarted target goes on where it was killed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runbook_ranger.demo.journal import Journal

SHARDS = ("primary", "standby")
HEALTHY_MS = 20.0
SLA_MS = 250.0
TAGS = {"allow-remediation": "true", "service": "evidence-ingest", "environment": "demo"}


def now() -> str:
    """The time as RFC 3339 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was told; kept under its idempotency key."""

    status: int
    body: dict[str, Any]


@dataclass(slots=True)
class Ledger:
    """Everything that was asked and everything that was done, in order."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    effects: list[dict[str, Any]] = field(default_factory=list)
    replays: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def totals(self) -> dict[str, dict[str, int]]:
        """Counts by endpoint."""
        lists = {"calls": self.calls, "effects": self.effects, "replays": self.replays, "refused": self.refused}
        return {name: dict(Counter(str(entry["endpoint"]) for entry in entries)) for name, entries in lists.items()}


class Ingest:
    """The service: writes go to the active shard, whose storage may be slow."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.active = SHARDS[0]
        self.latency = dict.fromkeys(SHARDS, HEALTHY_MS)
        self.tags = dict(TAGS)
        self.warm: set[str] = set()
        self.restarts = 0
        self.ledger = Ledger()
        self.alerts: dict[str, str] = {}
        self.ended: dict[str, tuple[str, str]] = {}
        self._fences: dict[str, int] = {}
        self._answers: dict[tuple[str, str], tuple[str, Answer]] = {}
        for record in journal.records:
            self._fold(record)

    @property
    def standby(self) -> str:
        """The shard that is not active."""
        return next(shard for shard in SHARDS if shard != self.active)

    @property
    def healthy(self) -> bool:
        """Whether the active shard's storage is within the service level."""
        return self.latency[self.active] <= SLA_MS

    def record(self, kind: str, **fields: Any) -> None:
        """Write a record down, then let it change the state."""
        record = {"kind": kind, **fields}
        self._journal.append(record)
        self._fold(record)

    def stale(self, resource: str, fence: int) -> bool:
        """Whether a newer holder of the resource's lock has been here."""
        return fence < self._fences.get(resource, fence)

    def answered(self, endpoint: str, key: str) -> tuple[str, Answer] | None:
        """The request (as text) and the answer under this key, if it was carried out before."""
        return self._answers.get((endpoint, key))

    def status(self) -> dict[str, Any]:
        """What the service looks like from outside."""
        return {
            "active": self.active,
            "standby": self.standby,
            "ms": self.latency[self.active],
            "healthy": self.healthy,
            "sla_ms": SLA_MS,
            "shards": dict(self.latency),
            "warm": sorted(self.warm),
            "restarts": self.restarts,
        }

    def _fold(self, record: dict[str, Any]) -> None:
        getattr(self, f"_fold_{record['kind']}")(record)

    def _fold_call(self, record: dict[str, Any]) -> None:
        self.ledger.calls.append(record)

    def _fold_effect(self, record: dict[str, Any]) -> None:
        self.ledger.effects.append(record)
        self._see_fence(record)
        change = record["change"]
        self.active = change.get("active", self.active)
        self.warm |= set(change.get("warm", ()))
        if change.get("restart"):
            self.restarts += 1
            self.warm.clear()
        if record["key"]:
            answer = Answer(record["status"], record["body"])
            self._answers[record["endpoint"], record["key"]] = (record["request"], answer)

    def _fold_replay(self, record: dict[str, Any]) -> None:
        self.ledger.replays.append(record)
        self._see_fence(record)

    def _fold_refused(self, record: dict[str, Any]) -> None:
        self.ledger.refused.append(record)

    def _fold_latency(self, record: dict[str, Any]) -> None:
        self.latency[record["shard"]] = record["ms"]

    def _fold_tags(self, record: dict[str, Any]) -> None:
        self.tags = dict(record["tags"])

    def _fold_alert(self, record: dict[str, Any]) -> None:
        shard = record["shard"]
        if record["state"] == "firing":
            self.alerts[shard] = record["starts_at"]
            self.ended.pop(shard, None)
        elif record["state"] == "ended":
            self.ended[shard] = (self.alerts.pop(shard), record["ends_at"])
        elif record["state"] == "told":
            self.ended.pop(shard, None)

    def _see_fence(self, record: dict[str, Any]) -> None:
        if record["fence"] is not None:
            known = self._fences.get(record["resource"], 0)
            self._fences[record["resource"]] = max(known, record["fence"])
