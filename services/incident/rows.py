"""Rows and values: how the incident store's tables spell an incident, an alert, an execution."""

import uuid
from collections.abc import Iterable
from typing import Any

import asyncpg
import orjson

from libs.common.contracts.marking import Marking
from libs.common.database import Uuid
from services.incident.judgements import SeverityEntry
from services.incident.model import AlertState, Execution, Flag, Incident, Opening


def columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as the column arrays that `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def json(value: Any) -> str:
    """A value as a jsonb parameter takes it."""
    return orjson.dumps(value).decode()


def _text(value: uuid.UUID | None) -> str:
    return "" if value is None else str(value)


def incident(row: asyncpg.Record) -> Incident:
    """An incident from the columns of `STATE`."""
    failed = row["failed_execution_id"]
    return Incident(
        tenant=row["tenant_id"],
        incident_id=str(row["incident_id"]),
        fingerprint=row["fingerprint"],
        severity=row["severity"],
        status=row["status"],
        version=row["version"],
        firing=row["firing"],
        opened_at=row["opened_at"],
        updated_at=row["updated_at"],
        acknowledged_at=row["acknowledged_at"],
        mitigated_at=row["mitigated_at"],
        resolved_at=row["resolved_at"],
        closed_at=row["closed_at"],
        rationale=row["rationale"],
        flag=None if failed is None else Flag(failed, row["failed_reason"] or ""),
        owner=row["owner"] or "",
        sla_deadline=row["sla_deadline"],
        marking=Marking(row["environment"], row["clearance"]),
        rotation=row["rotation"],
    )


def state_row(i: Incident) -> tuple[Any, ...]:
    """What of an incident moves, as `SAVE` takes it."""
    return (
        i.tenant,
        Uuid(i.incident_id),
        i.severity,
        i.status,
        i.version,
        i.firing,
        i.rationale,
        i.owner or None,
        i.sla_deadline,
        i.opened_at,
        i.updated_at,
        i.acknowledged_at,
        i.mitigated_at,
        i.resolved_at,
        i.closed_at,
        None if i.flag is None else i.flag.execution_id,
        None if i.flag is None else i.flag.reason,
    )


def opening_row(i: Incident, opening: Opening) -> tuple[Any, ...]:
    """A new incident, as `OPEN` takes it."""
    history = SeverityEntry(i.severity, opening.created_at, opening.by)
    return (
        *state_row(i),
        i.fingerprint,
        opening.title,
        opening.alert_name,
        json([history.to_json()]),
        json(dict(opening.labels)),
        json(dict(opening.annotations)),
        opening.description,
        json(list(opening.tags)),
        opening.created_at,
        i.marking.environment,
        i.marking.clearance,
        i.rotation,
    )


def alert(row: asyncpg.Record) -> AlertState:
    """An alert from its row."""
    return AlertState(
        alert_id=str(row["alert_id"]),
        tenant=row["tenant_id"],
        fingerprint=row["fingerprint"],
        starts_at=row["starts_at"],
        name=row["name"],
        severity=row["severity"],
        firing=row["status"] == "firing",
        incident_id=_text(row["incident_id"]),
        occurrences=row["occurrences"],
        last_seen=row["last_seen"],
        ends_at=row["ends_at"],
    )


def alert_row(a: AlertState) -> tuple[Any, ...]:
    """An alert, as it is stored."""
    return (
        a.tenant,
        a.fingerprint,
        a.starts_at,
        Uuid(a.alert_id),
        Uuid(a.incident_id) if a.incident_id else None,
        a.name,
        a.severity,
        "firing" if a.firing else "resolved",
        a.ends_at,
        a.occurrences,
        a.last_seen,
    )


def execution(row: asyncpg.Record) -> Execution:
    """An execution from its row."""
    return Execution(
        tenant=row["tenant_id"],
        execution_id=row["execution_id"],
        incident_id=str(row["incident_id"]),
        runbook_id=row["runbook_id"],
        state=row["state"],
        version=row["version"],
        updated_at=row["updated_at"],
        reason=row["reason"],
    )


def execution_row(e: Execution) -> tuple[Any, ...]:
    """An execution, as it is stored."""
    return (
        e.tenant,
        e.execution_id,
        Uuid(e.incident_id),
        e.runbook_id,
        e.state,
        e.reason,
        e.version,
        e.updated_at,
    )
