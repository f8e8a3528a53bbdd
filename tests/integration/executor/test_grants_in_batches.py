"""Decisions that come together are kept by a statement for all; what they lead to is what they lead to one by one."""

from collections.abc import Sequence
from typing import Any

import pytest

from libs.common.contracts.approval import ApprovalExpired, ApprovalFact, ApprovalRejected
from libs.runbook.spec import Runbook
from tests.integration.executor.approver import Approver, somebody_elses_hash
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.samples import QUESTION, RISKY

pytestmark = pytest.mark.stack


def plans() -> list[Runbook]:
    """What the executions follow, in the order of `decisions`."""
    plan = [QUESTION, step()]
    return [runbook(RISKY), runbook(*plan), runbook(RISKY), runbook(RISKY), runbook(*plan), runbook(RISKY)]


async def decisions(grace: Approver, executions: Sequence[str]) -> list[ApprovalFact]:
    """Yes, yes to a plan, no, silence; another plan's yes before the right one; a yes that is told twice."""
    action, plan, no, silence, other, twice = executions
    granted = await grace.granted(twice)
    return [
        await grace.granted(action),
        await grace.granted(plan),
        ApprovalRejected(**await grace.about(no), approver="grace", rationale="not now"),
        granted,
        await grace.granted(other, plan_hash=somebody_elses_hash()),
        ApprovalExpired(**await grace.about(silence)),
        await grace.granted(other),
        granted,
    ]


async def left(bench: Bench, executions: Sequence[str]) -> list[Any]:
    """What is seen of the executions, and what the executor's copies of the approvals say."""
    found = []
    for execution in executions:
        shown = await bench.show(execution)
        steps = [(item["step"], item["state"], item["error_code"]) for item in shown["steps"]]
        rows = await bench.database.pool.fetch(
            "SELECT state, actor, used_at IS NOT NULL AS used FROM approval WHERE execution_id::text = $1"
            " ORDER BY state, actor, used_at",
            execution,
        )
        found.append((shown["state"], shown["blocked_reason"], steps, [tuple(row) for row in rows]))
    return found


async def test_a_batch_of_decisions_leads_to_what_one_after_the_other_do(bench: Bench, grace: Approver) -> None:
    alone = [await bench.execution(spec) for spec in plans()]
    together = [await bench.execution(spec) for spec in plans()]

    for fact in await decisions(grace, alone):
        await bench.hear(fact)
    messages = [bench.message(fact) for fact in await decisions(grace, together)]
    async with bench.database.transaction("hear") as tx:
        await bench.handlers.apply(tx, messages)
    await bench.hints.flush()

    expected = await left(bench, alone)
    assert await left(bench, together) == expected
    assert [state for state, *_ in expected] == ["running", "running", "failed", "failed", "running", "running"]
