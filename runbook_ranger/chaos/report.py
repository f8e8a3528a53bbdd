"""A run in figures: what was asked, what took effect, which faults, which violations."""

from collections import Counter
from typing import Any

from runbook_ranger.chaos.invariants import TITLES
from runbook_ranger.chaos.run import Result


def summary(result: Result) -> dict[str, Any]:
    """JSON-ready."""
    evidence = result.evidence
    return {
        "seed": result.order.seed,
        "seconds": result.order.seconds,
        "good": result.good,
        "calls": dict(Counter(call.outcome for call in evidence.history)),
        "executions": dict(Counter(row["state"] for row in evidence.table("executor.execution"))),
        "effects": {
            "calls": len(evidence.ledger.calls),
            "effects": len(evidence.ledger.effects),
            "repetitions": len(evidence.ledger.replays),
            "refused": len(evidence.ledger.refused),
        },
        "leaves": len(evidence.log.entries),
        "messages": len(evidence.messages),
        "faults": dict(Counter(injury.kind for injury in evidence.injuries)),
        "missed": sum(not injury.met for injury in evidence.injuries),
        "violations": [
            {"invariant": found.invariant, "subject": found.subject, "detail": found.detail}
            for found in result.violations
        ],
        "took": {name: round(seconds, 1) for name, seconds in result.seconds.items()},
        "folder": str(result.order.root),
    }


def lines(result: Result) -> list[str]:
    """The same for people: a table of counts, then an invariant a line, then each violation."""
    found = summary(result)
    rows = [
        ("seed", str(found["seed"])),
        ("calls", _counts(found["calls"])),
        ("executions", _counts(found["executions"])),
        ("effects", _counts(found["effects"])),
        ("log", f"{found['leaves']} leaves of {found['messages']} messages"),
        ("faults", f"{_counts(found['faults'])}; {found['missed']} missed their victim"),
        ("took", ", ".join(f"{name} after {seconds} s" for name, seconds in found["took"].items())),
    ]
    broken = Counter(violation.invariant for violation in result.violations)
    shown = [f"{name:<12}{text}" for name, text in rows]
    shown += [
        f"{number:>2}  {'holds' if not broken[number] else f'BROKEN {broken[number]} times'}  {title}"
        for number, title in TITLES.items()
    ]
    return shown + [str(violation) for violation in result.violations]


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"
