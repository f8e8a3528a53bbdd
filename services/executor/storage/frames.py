"""Frames of branches and iterations, the items of loops, and kept rollbacks: what hangs on an execution's row.

All of it is read and written under the execution's lock. Of an execution without open composite steps, as most are,
nothing here is read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson
from msgspec.structs import replace

from libs.common.database import Tx, Uuid
from libs.runbook.frame import Frame
from libs.runbook.rendering import RenderedAction
from services.executor.model import Execution, KeptRollback
from services.executor.storage.columns import columns, json

_ITEMS_KEPT: Final = 16
_items: dict[tuple[str, str], Sequence[Any]] = {}
"""Lists of loops, which never change, by execution and path: read once a process."""

_FRAMES: Final = """
SELECT execution_id, path, frame FROM frame WHERE execution_id = ANY($1::uuid[]) ORDER BY execution_id, path
"""
_ITEMS: Final = """
SELECT execution_id, path, items FROM loop_items
JOIN unnest($1::uuid[], $2::text[]) AS t(execution_id, path) USING (execution_id, path)
"""
_PUT_FRAMES: Final = """
INSERT INTO frame (execution_id, path, frame)
SELECT id, path, frame::jsonb FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t(id, path, frame)
ON CONFLICT (execution_id, path) DO UPDATE SET frame = EXCLUDED.frame
"""
_DROP_FRAMES: Final = """
DELETE FROM frame USING unnest($1::uuid[], $2::text[]) AS t(id, p) WHERE execution_id = t.id AND path = t.p
"""
_KEEP_ITEMS: Final = """
INSERT INTO loop_items (execution_id, path, items)
SELECT id, path, items::jsonb FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t(id, path, items)
ON CONFLICT DO NOTHING
"""
_KEEP_ROLLBACKS: Final = """
INSERT INTO kept_rollback (execution_id, number, path, visit, action, effect, action_hash, rendered, resource_id,
  tags_url, timeout_seconds, refusal)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::bytea[],
  $9::text[], $10::text[], $11::float8[], $12::text[]) ON CONFLICT DO NOTHING
"""
_ROLLBACKS: Final = """
SELECT k.* FROM kept_rollback k JOIN unnest($1::uuid[], $2::int[]) AS t(execution_id, kept) USING (execution_id)
WHERE k.number BETWEEN t.kept - 1 AND t.kept
"""
_RUNNING: Final = """
SELECT execution_id, path, visit FROM action_log WHERE execution_id = ANY($1::uuid[]) AND state = 'running'
"""


async def with_children(tx: Tx, executions: Mapping[str, Execution]) -> dict[str, Execution]:
    """The executions, those with open composite steps with the frames and lists that belong to them."""
    opened = {key: e for key, e in executions.items() if any(run.state == "open" for run in e.frame.step_runs)}
    if not opened:
        return dict(executions)
    children: dict[str, dict[str, Frame]] = {key: {} for key in opened}
    for row in await tx.fetch(_FRAMES, [Uuid(key) for key in opened]):
        children[str(row["execution_id"])][row["path"]] = Frame.from_json(orjson.loads(row["frame"]))
    framed = {key: replace(e.frame, children=children[key]) for key, e in opened.items()}
    items = await _items_of(tx, {(key, path) for key, frame in framed.items() for path in _loops(frame)})
    whole = {
        key: opened[key].with_frame(
            replace(frame, items={path: found for (k, path), found in items.items() if k == key}), 0
        )
        for key, frame in framed.items()
    }
    return {**executions, **whole}


def _loops(frame: Frame) -> list[str]:
    """The paths of steps that are open, which may be loops."""
    return [run.path for part in frame.frames for run in part.step_runs if run.state == "open"]


async def _items_of(tx: Tx, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Sequence[Any]]:
    found = {key: _items[key] for key in wanted if key in _items}
    missing = sorted(wanted - found.keys())
    if missing:
        for row in await tx.fetch(_ITEMS, *columns((Uuid(key), path) for key, path in missing)):
            key = str(row["execution_id"]), row["path"]
            found[key] = _items[key] = orjson.loads(row["items"])
        while len(_items) > _ITEMS_KEPT:
            del _items[next(iter(_items))]
    return found


async def running(tx: Tx, executions: Sequence[Execution]) -> dict[str, list[tuple[str, int]]]:
    """(path, visit) of the steps that a worker carries out now, by execution: a claim does not write the frame."""
    found: dict[str, list[tuple[str, int]]] = {}
    for row in await tx.fetch(_RUNNING, [Uuid(e.execution_id) for e in executions]) if executions else ():
        found.setdefault(str(row["execution_id"]), []).append((row["path"], row["visit"]))
    return found


async def kept_rollbacks(tx: Tx, executions: Sequence[Execution]) -> dict[tuple[str, int], KeptRollback]:
    """The last two changes of each execution that could be taken back, by execution and number."""
    keeping = [(Uuid(e.execution_id), e.frame.kept) for e in executions if e.frame.kept and not e.frame.terminal]
    if not keeping:
        return {}
    rows = await tx.fetch(_ROLLBACKS, *columns(keeping))
    return {(str(row["execution_id"]), row["number"]): _rollback(row) for row in rows}


def _rollback(row: asyncpg.Record) -> KeptRollback:
    rendered = RenderedAction(
        path=row["path"],
        action=row["action"],
        arguments={},
        effect=row["effect"],
        resource=row["resource_id"],
        tags_url=row["tags_url"],
        timeout_seconds=row["timeout_seconds"],
        rendered=row["rendered"],
        action_hash=row["action_hash"],
    )
    return KeptRollback(row["number"], row["path"], row["visit"], rendered, row["refusal"])


async def write_frames(
    tx: Tx,
    changed: Sequence[tuple[str, Frame]],
    ended: Sequence[tuple[str, str]],
    items: Sequence[tuple[str, str, Sequence[Any]]],
    rollbacks: Sequence[tuple[str, KeptRollback]],
) -> None:
    """Store what folding changed of frames (execution id, frame), which ended, and what is to be kept."""
    if changed:
        rows = ((Uuid(key), frame.path, json(frame.to_json())) for key, frame in changed)
        await tx.execute(_PUT_FRAMES, *columns(rows))
    if ended:
        await tx.execute(_DROP_FRAMES, *columns((Uuid(key), path) for key, path in ended))
    if items:
        await tx.execute(_KEEP_ITEMS, *columns((Uuid(key), path, json(found)) for key, path, found in items))
    if rollbacks:
        await tx.execute(_KEEP_ROLLBACKS, *columns(_rollback_row(key, kept) for key, kept in rollbacks))


def _rollback_row(execution_id: str, kept: KeptRollback) -> tuple[Any, ...]:
    rendered = kept.rendered
    return (
        Uuid(execution_id),
        kept.number,
        kept.path,
        kept.visit,
        rendered.action if rendered else "",
        rendered.effect if rendered else "",
        rendered.action_hash if rendered else "",
        rendered.rendered if rendered else b"",
        rendered.resource if rendered else None,
        rendered.tags_url if rendered else None,
        rendered.timeout_seconds if rendered else 0.0,
        kept.refusal,
    )
