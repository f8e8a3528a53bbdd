"""Votes in Postgres: a row each, never changed but to say that it was taken back. The approval's lock guards them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from libs.common.database import Tx, Uuid
from services.approvals.model import Told, Vote, Word

_STANDING: Final = "SELECT * FROM vote WHERE approval_id = ANY($1::uuid[]) AND withdrawn_at IS NULL ORDER BY id"
_CAST: Final = """
INSERT INTO vote (tenant_id, approval_id, actor, plan_hash, action_hash, filled, rationale, channel, method,
  decision_id, policy_revision, voted_at)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12)
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


async def write(tx: Tx, story: Sequence[Told], *, now: datetime) -> None:
    """Store the votes that were cast and taken back, in the order in which that is told."""
    for told in story:
        approval = told.approval
        key = approval.tenant, Uuid(approval.approval_id)
        if told.cast is not None:
            await tx.execute(_CAST, *key, *_columns(told.cast))
        if told.taken_back is not None:
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


def _columns(vote: Vote) -> tuple[Any, ...]:
    word = vote.word
    return (
        word.actor,
        vote.plan_hash,
        vote.action_hash,
        orjson.dumps(dict(vote.values)).decode(),
        word.rationale,
        word.channel,
        word.method,
        word.decision_id,
        word.policy_revision,
        vote.voted_at,
    )
