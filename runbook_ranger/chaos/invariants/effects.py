"""Invariants 5 and 6, by the target's own ledger: effects take place once, and keep out of each other's way."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from runbook_ranger.chaos.evidence import Evidence, Row, Violation, seconds

ONCE: Final = frozenset({"unsafe", "keyed"})


def check_once(evidence: Evidence) -> Iterator[Violation]:
    """Invariant 5: each unsafe key has at most one effect; of each keyed one at most one was accepted."""
    kinds = {row["idem_key"]: row["effect"] for row in evidence.table("executor.action_log")}
    effects: dict[str, list[Row]] = defaultdict(list)
    for effect in evidence.ledger.effects:
        if effect["key"]:
            effects[effect["key"]].append(effect)
    for key, found in effects.items():
        kind = kinds.get(key)
        if kind in ONCE and len(found) > 1:
            calls = [effect["call"] for effect in found]
            yield Violation(5, f"key {key}", f"is {kind} and took effect {len(found)} times, by the calls {calls}")


@dataclass(frozen=True, slots=True)
class _Span:
    """When an execution changed a resource."""

    execution: str
    call: int
    fence: int
    start: float
    end: float


def check_apart(evidence: Evidence) -> Iterator[Violation]:
    """Invariant 6: no two effects overlap on a resource, and none comes between a change and its verification.

    A lock that a person broke lets others in; the ends of its execution then say nothing.
    """
    owners = {row["idem_key"]: row["execution_id"] for row in evidence.table("executor.action_log")}
    ends = {row["execution_id"]: seconds(row["ended_at"]) for row in evidence.table("executor.execution")}
    broken = _broken(evidence)
    spans: dict[str, list[_Span]] = defaultdict(list)
    for effect in evidence.ledger.effects:
        owner = owners.get(effect["key"] or "")
        if owner is not None:
            span = _Span(owner, effect["call"], effect["fence"], seconds(effect["start"]), seconds(effect["end"]))
            spans[effect["resource"]].append(span)
    for resource, found in spans.items():
        found.sort(key=lambda span: span.start)
        yield from _overlaps(resource, found)
        yield from _intrusions(resource, [span for span in found if span.execution not in broken], ends)


def _broken(evidence: Evidence) -> set[str]:
    """Executions whose lock a person took away."""
    return {
        str(call.answer.get("was_held_by"))
        for call in evidence.history
        if call.name == "break_lock" and call.outcome != "fail"
    }


def _overlaps(resource: str, spans: Sequence[_Span]) -> Iterator[Violation]:
    latest: _Span | None = None
    for span in spans:
        if latest is not None and span.start < latest.end:
            detail = (
                f"call {span.call} (fence {span.fence}) began before call {latest.call} (fence {latest.fence}) ended"
            )
            yield Violation(6, f"resource {resource}", detail)
        if latest is None or span.end > latest.end:
            latest = span


def _intrusions(resource: str, spans: Sequence[_Span], ends: dict[str, float]) -> Iterator[Violation]:
    for number, span in enumerate(spans):
        until = ends.get(span.execution, 0.0)
        if until < span.start:
            continue  # it had ended before: its action was let finish, and nothing is verified any more
        for later in spans[number + 1 :]:
            if later.start >= until:
                break
            if later.execution != span.execution:
                detail = (
                    f"call {later.call} of execution {later.execution} came between call {span.call} of execution "
                    f"{span.execution} and that execution's end"
                )
                yield Violation(6, f"resource {resource}", detail)
                break
