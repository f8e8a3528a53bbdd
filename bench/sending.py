"""Alerts by the thousand: as messages, published acknowledged and in windows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import orjson
from nats.js import JetStreamContext

from bench.driver import ENDS_AT, STARTS_AT
from libs.common.contracts.alert import SUBJECT_ALERTMANAGER
from libs.common.ids import new_id

T = TypeVar("T")
WINDOW: Final = 512
TOGETHER: Final = 100  # alerts that a real Alertmanager sends as one group


def group(name: str, cases: Iterable[str], *, status: str = "firing") -> bytes:
    """One webhook of Alertmanager's; each case is a problem of its own."""
    ends = {"endsAt": ENDS_AT} if status == "resolved" else {}
    alerts = [
        {
            "status": status,
            "labels": {"alertname": name, "severity": "high", "case": case, "service": "checkout"},
            "annotations": {"summary": f"{name} at {case}"},
            "startsAt": STARTS_AT,
            "fingerprint": case,
            **ends,
        }
        for case in cases
    ]
    return orjson.dumps({"version": "4", "status": status, "receiver": "bench", "alerts": alerts})


async def publish(js: JetStreamContext, subject: str, bodies: Iterable[bytes]) -> int:
    """Publish all of them, awaiting every acknowledgement, a window at a time; how many there were."""
    count = 0
    for window in _windows(bodies, WINDOW):
        acknowledged = [await js.publish_async(subject, body, headers={"Nats-Msg-Id": new_id()}) for body in window]
        await asyncio.gather(*acknowledged)
        count += len(window)
    return count


async def open_incidents(js: JetStreamContext, name: str, count: int, *, prefix: str = "") -> None:
    """Report so many problems, each once."""
    cases = (f"{prefix or name}-{number}" for number in range(count))
    groups = (group(name, found) for found in _windows(cases, TOGETHER))
    await publish(js, SUBJECT_ALERTMANAGER, groups)


def _windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while window := list(islice(rest, size)):
        yield window
