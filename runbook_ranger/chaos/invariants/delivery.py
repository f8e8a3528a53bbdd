"""Invariant 2: every outbox row is published, every message applied, and each exactly once a consumer."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from runbook_ranger.chaos.evidence import Evidence, Message, Violation

EVENTS: Final = "EVENTS"
INGRESS: Final = "INGRESS"
ONCE_A_CAUSE: Final = frozenset({"runbook.matched", "runbook.planned", "approval.requested"})
"""Facts that a consumer tells at most once for a fact that it hears."""


def check(evidence: Evidence) -> Iterator[Violation]:
    """Follow each fact from its row to its consumers."""
    written = _written(evidence)
    yield from _published(evidence, written)
    yield from _applied(evidence, written)
    yield from _told_once(evidence)
    yield from _counted_once(evidence)


def _written(evidence: Evidence) -> dict[str, str]:
    """The table of each fact that was ever written to an outbox, by its id; copies of dead letters are no facts."""
    return {
        str(change.row["event_id"]): change.table
        for change in evidence.changes
        if change.table.endswith(".outbox") and not change.old and not change.row["subject"].startswith("dlq.")
    }


def _published(evidence: Evidence, written: dict[str, str]) -> Iterator[Violation]:
    seen = {message.id for message in evidence.stream(EVENTS)} | set(evidence.log.traces)
    for event, table in written.items():
        if event not in seen:
            yield Violation(2, f"event {event}", f"is a row of {table}; it is neither in the stream nor in the log")


def _applied(evidence: Evidence, written: dict[str, str]) -> Iterator[Violation]:
    marks: dict[str, Counter[str]] = defaultdict(Counter)
    places: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for change in evidence.changes:
        if change.table.endswith(".inbox") and not change.old:
            row = change.row
            marks[row["consumer"]][str(row["event_id"])] += 1
            places[row["consumer"]][row["epoch"], row["stream_seq"]] += 1
    for (stream, durable), subjects in evidence.consumers.items():
        if durable == "timeline":
            continue  # it keeps a log of sequences instead: invariant 4
        consumer = f"{durable}:{stream}"
        for message in _due(evidence, stream, subjects, written):
            times = marks[consumer][message.id] if stream == EVENTS else places[consumer][message.epoch, message.seq]
            if times != 1:
                subject = f"{message.subject} {message.id} (sequence {message.seq})"
                yield Violation(2, subject, f"was applied {times} times by {consumer}")


def _due(evidence: Evidence, stream: str, subjects: Sequence[str], written: dict[str, str]) -> Iterator[Message]:
    """The messages that a consumer hears, each event once; on EVENTS only ours, not what a stranger put there."""
    seen: set[str] = set()
    for message in evidence.stream(stream):
        if message.subject not in subjects or (stream == EVENTS and message.id not in written):
            continue
        if stream != EVENTS or message.id not in seen:
            seen.add(message.id)
            yield message


def _told_once(evidence: Evidence) -> Iterator[Violation]:
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for message in evidence.stream(EVENTS):
        cause = message.headers.get("ce-causationid", "")
        if cause and message.subject in ONCE_A_CAUSE:
            told[message.subject, cause].add(message.id)
    for (subject, cause), ids in told.items():
        if len(ids) > 1:
            yield Violation(2, f"event {cause}", f"made its consumer tell {subject} {len(ids)} times")


def _counted_once(evidence: Evidence) -> Iterator[Violation]:
    """No alert counts more reports than were stored; nobody can tell once the store is gone."""
    if evidence.erased:
        return
    reports: Counter[str] = Counter()
    for message in evidence.stream(INGRESS):
        fingerprint = _fingerprint(message)
        if fingerprint:
            reports[fingerprint] += 1
    for row in evidence.table("incident.alert"):
        known = reports.get(row["fingerprint"])
        if known is not None and row["occurrences"] > known:
            detail = f"counts {row['occurrences']} reports, of which {known} were ever sent"
            yield Violation(2, f"alert {row['fingerprint']}", detail)


def _fingerprint(message: Message) -> str:
    """Whose report it is, in our own form."""
    try:
        body = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(body, dict) or body.get("status") != "firing":
        return ""
    return str(body.get("fingerprint", ""))
