"""Says what the approvals service says, by facts alone, about what the executor last asked."""

from datetime import timedelta
from typing import Any

from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.approval import ApprovalExpired, ApprovalGranted, ApprovalRejected, approval_id
from libs.common.ids import new_id
from services.executor.commands import RevokeApproval
from tests.integration.executor.bench import TENANT, Bench


class Approver:
    """Grace, who may approve."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def about(self, execution: str, **changed: Any) -> dict[str, str]:
        """What a decision on the last question of an execution says it is about; `changed` puts in something else."""
        asked = {**await self._bench.fact(execution, "blocked"), **changed}
        hashes = {"plan_hash": asked["plan_hash"], "action_hash": asked.get("action_hash") or ""}
        about = {"execution_id": asked["execution_id"], "step_run_id": asked["step_run_id"], **hashes}
        return {"approval_id": approval_id(tenant=TENANT, **about), "incident_id": asked["incident_id"], **about}

    async def granted(self, execution: str, **changed: Any) -> ApprovalGranted:
        """A grant that nobody has heard of yet; it stands for a day."""
        until = rfc3339(utc_now() + timedelta(days=1))
        about = await self.about(execution, **changed)
        return ApprovalGranted(**about, approver="grace", rationale="go ahead", expires_at=until)

    async def grant(self, execution: str, **changed: Any) -> str:
        """Grant; returns the approval's id."""
        fact = await self.granted(execution, **changed)
        await self._bench.hear(fact)
        return fact.approval_id

    async def reject(self, execution: str) -> None:
        """Say no."""
        about = await self.about(execution)
        await self._bench.hear(ApprovalRejected(**about, approver="grace", rationale="not now"))

    async def expire(self, execution: str) -> None:
        """Let the time to decide be over."""
        await self._bench.hear(ApprovalExpired(**await self.about(execution)))

    async def revoke(self, approval: str) -> dict[str, Any]:
        """Take a grant back, as the approvals service asks the executor to."""
        command = RevokeApproval(approval_id=approval, rationale="the plan is off")
        answer: dict[str, Any] = await self._bench.tell("revoke_approval", command)
        return answer

    async def outlive(self, approval: str) -> None:
        """Let a grant be past its time."""
        await self._bench.database.pool.execute(
            "UPDATE approval SET expires_at = clock_timestamp() WHERE approval_id::text = $1", approval
        )

    async def state(self, approval: str) -> str | None:
        """What the executor's copy says of an approval; None when it knows of none."""
        found: str | None = await self._bench.database.pool.fetchval(
            "SELECT state FROM approval WHERE approval_id::text = $1", approval
        )
        return found


def somebody_elses_hash() -> str:
    """A hash of nothing here."""
    return new_id().replace("-", "") * 2
