"""A small alerter: watches the active shard's latency and posts what Alertmanager would (webhook version 4)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from runbook_ranger.demo.ingest import SLA_MS, Ingest, now

ALERT = "storage_latency_high"
RECEIVER = "runbook-ranger"
NEVER = "0001-01-01T00:00:00Z"


class Alerter:
    """Fires while the active shard is slow and resolves when it no longer is; repeats until it is heard.

    Alerts live in the journal: a firing one keeps its `startsAt` and an ended one its notice through restarts.
    Undelivered notices are tried again at every tick, delivered firing ones again after `resend_seconds`.
    """

    def __init__(self, ingest: Ingest, target_url: str, *, resend_seconds: float) -> None:
        self._ingest = ingest
        self._target_url = target_url
        self._resend_seconds = resend_seconds
        self._url: str | None = None
        self._token = ""
        self._annotations: dict[str, str] = {}
        self._heard: frozenset[tuple[str, str]] = frozenset()
        self._heard_at = float("-inf")
        self.delivered = 0

    def report_to(self, url: str | None, token: str = "", annotations: Mapping[str, str] | None = None) -> None:
        """Where notices go from now on (None: nowhere), and what they say besides their summary."""
        self._url, self._token, self._heard = url, token, frozenset()
        self._annotations = dict(annotations or {})

    async def tick(self, client: httpx.AsyncClient) -> None:
        """Look once, and post when there is something that nobody has heard yet."""
        self._evaluate()
        state = frozenset(self._ingest.alerts.items())
        due = state and time.monotonic() - self._heard_at >= self._resend_seconds
        if self._url is None or not (due or self._ingest.ended or state != self._heard):
            return
        payload, ended = self.payload(), dict(self._ingest.ended)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        with suppress(httpx.HTTPError):
            response = await client.post(self._url, json=payload, headers=headers)
            if response.is_success:
                self._heard, self._heard_at = state, time.monotonic()
                self._told(ended)
                self.delivered += 1

    async def run(self, interval_seconds: float) -> None:
        """Tick for ever."""
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            while True:
                await self.tick(client)
                await asyncio.sleep(interval_seconds)

    def payload(self) -> dict[str, Any]:
        """The webhook body for everything that fires or has just ended."""
        firing = [self._alert(shard, "firing", starts, NEVER) for shard, starts in self._ingest.alerts.items()]
        ended = [self._alert(shard, "resolved", *times) for shard, times in self._ingest.ended.items()]
        alerts = firing + ended
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{ALERT}"}}',
            "truncatedAlerts": 0,
            "status": "firing" if firing else "resolved",
            "receiver": RECEIVER,
            "groupLabels": {"alertname": ALERT},
            "commonLabels": _common([alert["labels"] for alert in alerts]),
            "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
            "externalURL": self._target_url,
            "alerts": alerts,
        }

    def _evaluate(self) -> None:
        ingest = self._ingest
        bad = set() if ingest.healthy else {ingest.active}
        for shard in bad - ingest.alerts.keys():
            ingest.record("alert", shard=shard, state="firing", starts_at=now())
        for shard in ingest.alerts.keys() - bad:
            ingest.record("alert", shard=shard, state="ended", ends_at=now())

    def _told(self, ended: dict[str, tuple[str, str]]) -> None:
        for shard, times in ended.items():
            if self._ingest.ended.get(shard) == times:
                self._ingest.record("alert", shard=shard, state="told")

    def _alert(self, shard: str, status: str, starts: str, ends: str) -> dict[str, Any]:
        standby = next(name for name in self._ingest.latency if name != shard)
        labels = {
            "alertname": ALERT,
            "severity": "high",
            "shard": shard,
            "standby": standby,
            "target": self._target_url,
        }
        return {
            "status": status,
            "labels": labels,
            "annotations": {
                "summary": f"Storage latency of shard {shard} is above {SLA_MS:.0f} ms",
                **self._annotations,
            },
            "startsAt": starts,
            "endsAt": ends,
            "generatorURL": f"{self._target_url}/metrics",
            "fingerprint": fingerprint(labels),
        }


def fingerprint(labels: dict[str, str]) -> str:
    """Sixteen hexadecimal digits that stay the same for the same labels."""
    text = "\xff".join(f"{name}\xff{labels[name]}" for name in sorted(labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _common(maps: list[dict[str, str]]) -> dict[str, str]:
    first = maps[0] if maps else {}
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in maps)}
