"""Invariant 14: one trace links the alert, the effects that it led to, and their entries in the log."""

from collections import defaultdict
from collections.abc import Iterator

import orjson

from runbook_ranger.chaos.evidence import Evidence, Message, Violation, trace_of


def check(evidence: Evidence) -> Iterator[Violation]:
    """Follow each execution that an alert began."""
    traces = {} if evidence.erased else _traces_of_alerts(evidence)  # reports that are gone have left no trace
    told = _traces_of_executions(evidence)
    keys = {row["idem_key"]: row["execution_id"] for row in evidence.table("executor.action_log")}
    effects: dict[str, set[str]] = defaultdict(set)
    for effect in evidence.ledger.effects:
        if effect["key"] in keys and "trace" in effect:
            effects[keys[effect["key"]]].add(trace_of(effect["trace"]))
    for row in evidence.table("executor.execution"):
        alerts = traces.get(((row.get("alert") or {}).get("labels") or {}).get("case", ""))
        if not alerts and not evidence.erased:
            continue
        subject = f"execution {row['execution_id']}"
        if alerts and trace_of(row["traceparent"]) not in alerts:
            yield Violation(14, subject, "is not in the trace of the alert that began it")
        for trace in sorted(effects[row["execution_id"]] - told[row["execution_id"]]):
            yield Violation(14, subject, f"took effect in trace {trace}, which no entry of it in the log has")
    yield from _unlinked(evidence, traces)


def _unlinked(evidence: Evidence, traces: dict[str, set[str]]) -> Iterator[Violation]:
    """Entries that only an alert can have caused, and whose trace no alert has."""
    known = set().union(*traces.values()) if traces else set()
    for message in evidence.stream("EVENTS"):
        if message.subject != "incident.created":
            continue
        trace = trace_of(evidence.log.traces.get(message.id, ""))
        if trace and _about_a_case(message, traces) and trace not in known:
            yield Violation(14, f"{message.subject} {message.id}", "is in the log under a trace that no alert has")


def _about_a_case(message: Message, traces: dict[str, set[str]]) -> bool:
    try:
        body = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(body, dict) and (body.get("labels") or {}).get("case") in traces


def _traces_of_alerts(evidence: Evidence) -> dict[str, set[str]]:
    """The traces of a case's reports, by the case."""
    found: dict[str, set[str]] = defaultdict(set)
    for message in evidence.stream("INGRESS"):
        trace = trace_of(message.headers.get("traceparent", ""))
        try:
            body = orjson.loads(message.data)
        except orjson.JSONDecodeError:
            continue
        if trace and isinstance(body, dict):
            case = (body.get("labels") or {}).get("case")
            if case:
                found[case].add(trace)
    return found


def _traces_of_executions(evidence: Evidence) -> dict[str, set[str]]:
    """The traces that an execution's entries in the log have."""
    found: dict[str, set[str]] = defaultdict(set)
    for event, execution in evidence.log.executions.items():
        found[execution].add(trace_of(evidence.log.traces.get(event, "")))
    return found
