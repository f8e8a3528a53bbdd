"""Votes in Postgres: a row each, never changed but to say that it was taken back. The approval's lock guards them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from libs.common.database import Tx, Uuid
from libs.common.together import Write
from services.approvals.model import Approval, Told, Vote, Word

_STANDING: Final = "SELECT * FROM vote WHERE approval_id = ANY($1::uuid[]) AND withdrawn_at IS NULL ORDER BY id"
_STANDING_NOW: Final = """
SELECT clock_timestamp() AS now, v.* FROM (SELECT) AS once
LEFT JOIN vote v ON v.tenant_id = $1 AND v.approval_id = $2 AND v.withdrawn_at IS NULL ORDER BY v.id
"""
_COLUMNS: Final = (
    "tenant_id", "approval_id", "actor", "plan_hash", "action_hash", "filled", "rationale", "channel", "method",
    "decision_id", "policy_revision", "voted_at",
)  # fmt: skip
_CAST: Final = f"""
INSERT INTO vote ({", ".join(_COLUMNS)})
SELECT {", ".join(_COLUMNS)} FROM jsonb_populate_recordset(NULL::vote, $1::text::jsonb)
"""
_TAKE_BACK: Final = """
UPDATE vote SET withdrawn_at = $4, withdrawn_why = $5
WHERE tenant_id = $1 AND approval_id = $2 AND actor = $3 AND withdrawn_at IS NULL
"""


async def standing(tx: Tx, approval_ids: Sequence[str]) -> Mapping[tuple[str, str], tuple[Vote, ...]]:
    """The votes that were not taken back, by (tenant, approval), in their order."""
    if not approval_ids:
        return {}
    found: dict[tuple[str, str], tuple[Vote, ...]] = {}
    for row in await tx.fetch(_STANDING, [Uuid(key) for key in approval_ids]):
        key = row["tenant_id"], str(row["approval_id"])
        found[key] = (*found.get(key, ()), to_vote(row))
    return found


async def standing_now(tx: Tx, tenant: str, approval_id: str) -> tuple[datetime, tuple[Vote, ...]]:
    """What the database's clock shows now, and one approval's votes that were not taken back."""
    rows = await tx.fetch(_STANDING_NOW, tenant, Uuid(approval_id))
    return rows[0]["now"], tuple(to_vote(row) for row in rows if row["id"] is not None)


def casting(story: Sequence[Told]) -> list[Write]:
    """What stores the votes that were cast."""
    rows = [_row(told.approval, told.cast) for told in story if told.cast is not None]
    return [Write(_CAST, (orjson.dumps(rows).decode(),))] if rows else []


async def take_back(tx: Tx, story: Sequence[Told], *, now: datetime) -> None:
    """Say of the votes that were taken back when and why."""
    for told in story:
        if told.taken_back is not None:
            key = told.approval.tenant, Uuid(told.approval.approval_id)
            await tx.execute(_TAKE_BACK, *key, told.taken_back.actor, now, told.taken_back.rationale)


def to_vote(row: asyncpg.Record) -> Vote:
    """A vote from its row. Which names the person had is not kept: policy's decision on them is."""
    word = Word(
        actor=row["actor"],
        names=frozenset(),
        rationale=row["rationale"],
        channel=row["channel"],
        method=row["method"],
        decision_id=row["decision_id"],
        policy_revision=row["policy_revision"],
    )
    return Vote(
        word=word,
        plan_hash=row["plan_hash"],
        action_hash=row["action_hash"],
        values=orjson.loads(row["filled"]),
        voted_at=row["voted_at"],
    )


def _row(approval: Approval, vote: Vote) -> dict[str, Any]:
    word = vote.word
    return {
        "tenant_id": approval.tenant,
        "approval_id": approval.approval_id,
        "actor": word.actor,
        "plan_hash": vote.plan_hash,
        "action_hash": vote.action_hash,
        "filled": dict(vote.values),
        "rationale": word.rationale,
        "channel": word.channel,
        "method": word.method,
        "decision_id": word.decision_id,
        "policy_revision": word.policy_revision,
        "voted_at": vote.voted_at,
    }
