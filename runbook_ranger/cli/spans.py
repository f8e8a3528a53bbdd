"""Spans of traces, read from the JSON lines that processes append to: many files, any order, torn last lines."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

_ZERO: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(slots=True)
class Span:
    """One span; `children` are in the order of their start. Times are seconds since 1970."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    start: float
    end: float
    error: str
    attributes: dict[str, Any]
    children: "list[Span]" = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) * 1000

    @classmethod
    def read(cls, line: bytes) -> Self | None:
        """The span of a line; None where the line is none, such as a torn one."""
        try:
            raw = json.loads(line)
            resource = raw["resource"]["attributes"]
            return cls(
                trace=raw["context"]["trace_id"].removeprefix("0x"),
                id=raw["context"]["span_id"].removeprefix("0x"),
                parent=(raw["parent_id"] or "").removeprefix("0x"),
                name=raw["name"],
                service=resource.get("service.instance.id") or resource.get("service.name") or "",
                start=_seconds(raw["start_time"]),
                end=_seconds(raw["end_time"]),
                error=_error(raw.get("status") or {}),
                attributes=raw.get("attributes") or {},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def as_json(self) -> dict[str, Any]:
        """The span and what lies below it."""
        return {
            "span_id": self.id,
            "name": self.name,
            "service": self.service,
            "start": datetime.fromtimestamp(self.start, _ZERO.tzinfo).isoformat(),
            "milliseconds": round(self.milliseconds, 3),
            "error": self.error or None,
            "attributes": self.attributes,
            "children": [child.as_json() for child in self.children],
        }


def lines(files: Iterable[Path], needle: bytes) -> Iterator[bytes]:
    """Lines that contain `needle`, so that only those are parsed; a file that goes away meanwhile is skipped."""
    for path in files:
        try:
            with path.open("rb") as file:
                yield from (line for line in file if needle in line)
        except FileNotFoundError:
            continue


def trace(files: Iterable[Path], trace_id: str) -> list[Span]:
    """The spans of one trace, each once, in the order of their start."""
    found = {span.id: span for line in lines(files, trace_id.encode()) if (span := Span.read(line))}
    return sorted((span for span in found.values() if span.trace == trace_id), key=lambda span: span.start)


def first_mention(files: Sequence[Path], value: str) -> str | None:
    """The trace of the earliest span that has `value` among its attributes; None where there is none."""
    spans = (Span.read(line) for line in lines(files, value.encode()))
    mentions = [span for span in spans if span is not None and value in span.attributes.values()]
    return min(mentions, key=lambda span: span.start).trace if mentions else None


def tree(spans: Sequence[Span]) -> list[Span]:
    """The roots, with everything below them; a span whose parent was not recorded is a root."""
    known = {span.id: span for span in spans}
    roots: list[Span] = []
    for span in spans:
        parent = known.get(span.parent)
        (parent.children if parent is not None and parent is not span else roots).append(span)
    return roots


def _seconds(text: str) -> float:
    return (datetime.fromisoformat(text) - _ZERO).total_seconds()


def _error(status: dict[str, Any]) -> str:
    return str(status.get("description") or "error") if status.get("status_code") == "ERROR" else ""
