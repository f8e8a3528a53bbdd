"""Executions under their rows' locks, and the specs that they follow."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import asyncpg
import orjson

from libs.common.contracts.marking import Marking
from libs.common.database import Tx, Uuid
from libs.runbook.dry_run import dry
from libs.runbook.frame import Frame
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts
from services.executor.model import Execution
from services.executor.storage.columns import columns, json
from services.executor.storage.frames import with_children

_SPECS_KEPT: Final = 512
_specs: dict[tuple[str, str], Runbook] = {}

_LOCK: Final = "SELECT * FROM execution WHERE execution_id = ANY($1::uuid[]) ORDER BY execution_id FOR UPDATE"
_SPECS: Final = """
SELECT tenant_id, spec_hash, body FROM spec
JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, spec_hash) USING (tenant_id, spec_hash)
"""


async def lock(tx: Tx, execution_ids: Iterable[str]) -> dict[str, Execution]:
    """The executions, whole, under their rows' locks, which are taken in the order of ids."""
    rows = await tx.fetch(_LOCK, [Uuid(i) for i in sorted(set(execution_ids))])
    specs = await _specs_of(tx, {(row["tenant_id"], row["spec_hash"]) for row in rows})
    found = {str(row["execution_id"]): to_execution(row, specs[row["tenant_id"], row["spec_hash"]]) for row in rows}
    return await with_children(tx, found)


async def _specs_of(tx: Tx, keys: set[tuple[str, str]]) -> dict[tuple[str, str], Runbook]:
    """The specs of these (tenant, hash); only those that are not kept are read."""
    found = {key: _specs[key] for key in keys if key in _specs}
    missing = sorted(keys - found.keys())
    if missing:
        for row in await tx.fetch(_SPECS, *columns(missing)):
            found[row["tenant_id"], row["spec_hash"]] = _spec_of(row["tenant_id"], row["spec_hash"], row["body"])
    return found


async def live_of_incidents(tx: Tx, tenant_incidents: Sequence[tuple[str, str]]) -> list[str]:
    """Ids of executions that have not ended, of (tenant, incident) pairs."""
    tenants, incidents = map(list, zip(*tenant_incidents, strict=True))
    rows = await tx.fetch(
        "SELECT execution_id FROM execution e JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, incident_id)"
        " USING (tenant_id, incident_id) WHERE e.ended_at IS NULL",
        tenants,
        incidents,
    )
    return [str(row["execution_id"]) for row in rows]


def to_execution(row: asyncpg.Record, spec: Runbook) -> Execution:
    """A row of `execution`, with its spec."""
    alert = orjson.loads(row["alert"]) if row["alert"] else None
    return Execution(
        execution_id=str(row["execution_id"]),
        tenant_id=row["tenant_id"],
        incident_id=row["incident_id"],
        runbook_id=row["runbook_id"],
        runbook_version=row["runbook_version"],
        spec_hash=row["spec_hash"],
        plan_hash=row["plan_hash"],
        initiator=row["initiator"],
        correlation=row["correlation"],
        traceparent=row["traceparent"],
        inputs=orjson.loads(row["inputs"]),
        facts=PlanFacts(alert=AlertFacts(**alert) if alert else None, incident_id=row["incident_id"]),
        version=row["version"],
        frame=Frame.from_json(orjson.loads(row["frame"])),
        spec=_followed(row, spec),
        dry_run=row["dry_run"],
        retry_of=str(row["retry_of"] or ""),
        retry_from=row["retry_from"] or "",
        marking=Marking(row["environment"], row["clearance"]),
        rights=orjson.loads(row["rights"]) if row["rights"] else None,
    )


def _followed(row: asyncpg.Record, spec: Runbook) -> Runbook:
    """What an execution follows: the runbook, or what a dry run makes of it, once for each."""
    if not row["dry_run"]:
        return spec
    key = (row["tenant_id"], f"dry run of {row['spec_hash']}")
    if key not in _specs:
        _specs[key] = dry(spec)
    return _specs[key]


def _spec_of(tenant_id: str, spec_hash: str, body: str) -> Runbook:
    """The parsed spec; a hash names its content, so a parsed one is kept."""
    key = (tenant_id, spec_hash)
    if key not in _specs:
        if len(_specs) >= _SPECS_KEPT:
            _specs.clear()
        _specs[key] = Runbook.from_json(orjson.loads(body))
    return _specs[key]


async def known_spec(tx: Tx, tenant_id: str, spec_hash: str) -> Runbook | None:
    """A spec that is stored. A parsed one that is kept proves nothing: the transaction that stored it may be undone."""
    parsed = _specs.get((tenant_id, spec_hash))
    row = await tx.fetchrow(
        "SELECT CASE WHEN $3 THEN NULL ELSE body END AS body FROM spec WHERE tenant_id = $1 AND spec_hash = $2",
        tenant_id,
        spec_hash,
        parsed is not None,
    )
    if row is None:
        return None
    return parsed or _spec_of(tenant_id, spec_hash, row["body"])


async def keep_spec(tx: Tx, tenant_id: str, spec_hash: str, spec: Runbook, version: int) -> None:
    """Store a spec under its hash."""
    await tx.execute(
        "INSERT INTO spec (tenant_id, spec_hash, runbook_id, runbook_version, body) VALUES ($1, $2, $3, $4, $5::jsonb)"
        " ON CONFLICT DO NOTHING",
        tenant_id,
        spec_hash,
        spec.id,
        version,
        json(spec.to_json()),
    )


_INSERT_EXECUTIONS: Final = """
INSERT INTO execution (execution_id, tenant_id, match_id, incident_id, runbook_id, runbook_version, spec_hash,
  plan_hash, initiator, correlation, traceparent, inputs, alert, version, state, phase, frame, reason, ended_at,
  dry_run, retry_of, retry_from, environment, clearance, rights)
SELECT execution_id, tenant_id, match_id, incident_id, runbook_id, runbook_version, spec_hash, plan_hash, initiator,
  correlation, traceparent, inputs::jsonb, alert::jsonb, version, state, phase, frame::jsonb, reason,
  CASE WHEN ended THEN clock_timestamp() END, dry_run, retry_of, retry_from, environment,
  clearance, rights::jsonb
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
  $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::text[], $16::text[], $17::text[],
  $18::text[], $19::boolean[], $20::boolean[], $21::uuid[], $22::text[], $23::text[], $24::smallint[], $25::text[])
  AS t(execution_id, tenant_id, match_id, incident_id, runbook_id, runbook_version, spec_hash, plan_hash, initiator,
    correlation, traceparent, inputs, alert, version, state, phase, frame, reason, ended, dry_run, retry_of, retry_from,
    environment, clearance, rights)
ON CONFLICT (match_id) DO NOTHING RETURNING execution_id
"""


async def insert_executions(tx: Tx, planned: Sequence[tuple[Execution, str]]) -> frozenset[str]:
    """Store new executions, each with its match (empty when a person asks); ids of those whose match had none yet."""
    if not planned:
        return frozenset()
    rows = await tx.fetch(_INSERT_EXECUTIONS, *columns(_execution_row(*each) for each in planned))
    return frozenset(str(row["execution_id"]) for row in rows)


def _execution_row(execution: Execution, match_id: str) -> tuple[Any, ...]:
    alert = execution.facts.alert
    return (
        Uuid(execution.execution_id),
        execution.tenant_id,
        Uuid(match_id) if match_id else None,
        execution.incident_id,
        execution.runbook_id,
        execution.runbook_version,
        execution.spec_hash,
        execution.plan_hash,
        execution.initiator,
        execution.correlation,
        execution.traceparent,
        json(dict(execution.inputs)),
        json(alert.to_json()) if alert else None,
        execution.version,
        execution.frame.state,
        execution.frame.phase,
        json(execution.frame.to_json()),
        execution.frame.reason,
        execution.frame.terminal,
        execution.dry_run,
        Uuid(execution.retry_of) if execution.retry_of else None,
        execution.retry_from or None,
        execution.marking.environment,
        execution.marking.clearance,
        None if execution.rights is None else json(dict(execution.rights)),
    )
