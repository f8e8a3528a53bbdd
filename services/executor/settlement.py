"""A worker's second commit: how attempts ended, and what follows, in one transaction for a batch.

A result counts while its attempt runs under its fence, or is `unknown` (then it resolves the doubt). Any other result
comes too late: it is kept as evidence and changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from libs.common.clock import Clock, rfc3339
from libs.common.contracts.envelope import Ref
from libs.common.crash import crash_point
from libs.common.database import Database, Tx, Uuid
from libs.common.outbox import Outbox
from libs.runbook.facts import Fact, StepFailed, StepSucceeded, StepUnknown
from services.executor import kill_switch, storage
from services.executor.fold import Because, Change, fold, merged
from services.executor.lifecycle import ActionState, after
from services.executor.model import Attempt, Hint, Settlement
from services.executor.succession import Succession

_STATES: Final[Mapping[str, ActionState]] = {
    "succeed": after("running", "succeed"),
    "fail": after("running", "fail"),
    "doubt": after("running", "doubt"),
}

_SETTLE: Final = """
UPDATE action_log SET state = t.state, finished_at = CASE WHEN t.state <> 'unknown' THEN clock_timestamp() END,
  error_code = t.error_code, message = t.message, result = t.result::jsonb, evidence = t.evidence::jsonb
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
  AS t(id, fence, state, error_code, message, result, evidence)
WHERE action_id = t.id AND action_log.fence = t.fence
  AND (action_log.state = 'running' OR (action_log.state = 'unknown' AND t.state <> 'unknown'))
RETURNING action_id
"""

_KEEP_LATE: Final = """
UPDATE action_log SET late = coalesce(late, '[]'::jsonb) || t.evidence::jsonb
FROM unnest($1::uuid[], $2::text[]) AS t(id, evidence) WHERE action_id = t.id
"""


class Settled(NamedTuple):
    """What settling brought: hints for what is ready, and by the settled action's id what its worker has claimed."""

    hints: list[Hint]
    following: dict[str, Attempt]


class Settlements:
    """Settles batches for one worker."""

    def __init__(
        self, database: Database, outbox: Outbox, *, clock: Clock, succession: Succession | None = None
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._succession = succession

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Store how attempts ended and go on: to actions that are ready now, and to what was claimed at once.

        Raises:
            Exception: the database did not commit; the same settlements may be given again.
        """
        crash_point("before_settle")
        parent = next((s.traceparent for s in settlements if s.traceparent), "")
        async with self._database.begun("settle", kill_switch.SHARE, parent=parent) as (tx, _):
            executions = await storage.lock(tx, (s.attempt.execution_id for s in settlements))
            counted = await self._store(tx, settlements)
            changes = [
                Change.of_attempt(
                    executions[s.attempt.execution_id],
                    to_fact(s),
                    Because(traceparent=s.traceparent),
                    s.attempt,
                    _refs(s.evidence),
                )
                for s in settlements
                if s.attempt.action_id in counted
            ]
            hints = await fold(tx, self._outbox, merged(changes), now=self._clock())
            following = await self._claim(tx, hints, [s for s in settlements if s.attempt.action_id in counted])
        crash_point("after_settle")
        begun = {attempt.action_id for attempt in following.values()}
        return Settled([hint for hint in hints if hint.action_id not in begun], following)

    async def _claim(self, tx: Tx, hints: Sequence[Hint], settlements: Sequence[Settlement]) -> dict[str, Attempt]:
        """What runs next where a worker goes on, by the settled action's id."""
        wanting = {s.attempt.execution_id: s.attempt.action_id for s in settlements if s.going_on}
        if self._succession is None or not wanting or not hints:
            return {}
        found = await self._succession.claim(tx, [hint.action_id for hint in hints], wanting.keys())
        return {wanting[execution_id]: attempt for execution_id, attempt in found.items()}

    async def _store(self, tx: Tx, settlements: Sequence[Settlement]) -> set[str]:
        rows = [_row(s) for s in settlements]
        found = await tx.fetch(_SETTLE, *map(list, zip(*rows, strict=True)))
        counted = {str(row["action_id"]) for row in found}
        late = [(Uuid(s.attempt.action_id), self._late(s)) for s in settlements if s.attempt.action_id not in counted]
        if late:
            await tx.execute(_KEEP_LATE, *map(list, zip(*late, strict=True)))
        return counted

    def _late(self, settlement: Settlement) -> str:
        result = {
            "ending": settlement.ending,
            "fence": settlement.attempt.fence,
            "worker": settlement.attempt.worker_id,
            "at": rfc3339(self._clock()),
            "error_code": settlement.error_code,
            "evidence": dict(settlement.evidence),
        }
        return orjson.dumps([result]).decode()


def to_fact(settlement: Settlement) -> Fact:
    """What the execution learns from it."""
    attempt: Attempt = settlement.attempt
    match settlement.ending:
        case "succeed":
            return StepSucceeded(attempt.path, attempt.visit, settlement.outputs)
        case "fail":
            return StepFailed(
                attempt.path, attempt.visit, settlement.error_code, settlement.message, settlement.retryable
            )
        case "doubt":
            return StepUnknown(attempt.path, attempt.visit, settlement.error_code or "no_answer")


def _refs(evidence: Mapping[str, Any]) -> tuple[Ref, ...]:
    """Objects that the action kept: the fact names them, and so does its leaf."""
    objects = evidence.get("objects", ())
    return tuple(Ref(kind=item["k"], sha256=item["sha256"], length=item["len"]) for item in objects)


def _row(settlement: Settlement) -> tuple[Any, ...]:
    return (
        Uuid(settlement.attempt.action_id),
        settlement.attempt.fence,
        _STATES[settlement.ending],
        settlement.error_code or None,
        settlement.message or None,
        orjson.dumps(dict(settlement.outputs)).decode(),
        orjson.dumps(dict(settlement.evidence)).decode(),
    )
