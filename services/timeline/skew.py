"""Producers' clocks beside the stream's.

The log's order is the stream's, whatever a producer's clock says. A fact whose own time is far from when the stream
stored it is flagged: that clock is wrong, or the fact was long on its way.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final

from libs.common.telemetry import log
from libs.tlog.chain import Entry, Message
from libs.tlog.shape import EVENT
from services.timeline import metrics

BOUND_SECONDS: Final = 3600
"""Below it a bus that was away, and an outbox that waited for it, would be flagged all the time."""


def skew(message: Message) -> float:
    """Seconds by which a fact's own time is ahead of the stream's, negative where it is behind; 0 within the bound."""
    told, stored = message.event.time, message.src.ts
    if told[:13] == stored[:13] and told[-1] == "Z":  # the same hour, as nearly always
        return 0.0
    with suppress(ValueError):  # whatever the time is, it must not stop the log
        apart = (datetime.fromisoformat(told) - datetime.fromisoformat(stored)).total_seconds()
        return apart if abs(apart) > BOUND_SECONDS else 0.0
    return 0.0


def flag(entries: Iterable[Entry]) -> None:
    """Count the events whose time cannot be right, or that came late; say so once a source and direction."""
    found: dict[tuple[str, str], list[tuple[float, Entry]]] = {}
    for entry in entries:
        if entry.kind != EVENT or not isinstance(entry.item, Message):
            continue
        apart = skew(entry.item)
        if apart:
            way = "ahead" if apart > 0 else "behind"
            found.setdefault((entry.item.event.source, way), []).append((abs(apart), entry))
    for (source, way), those in found.items():
        metrics.SKEWED.labels(way).inc(len(those))
        most, entry = max(those, key=lambda one: one[0])
        log.warning("timeline_skew", source=source, clock=way, count=len(those), seconds=round(most), index=entry.index)
