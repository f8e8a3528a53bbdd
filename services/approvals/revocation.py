"""Takes a grant back from the executor, which holds the copy that counts."""

from typing import Final

from libs.common.ids import derived_id
from libs.common.rpc import Caller, RpcClient
from services.approvals.errors import ApprovalUsed
from services.approvals.model import Approval
from services.approvals.usecases import TakeBack

EXECUTOR: Final = "executor"
VERB: Final = "revoke_approval"


def from_executor(client: RpcClient, *, timeout: float) -> TakeBack:
    """Asks `rpc.executor.revoke_approval {approval_id, rationale}` as the person who revokes.

    The request key is derived from the person's, so that asking again after a crash is the same request.
    """

    async def take_back(caller: Caller, approval: Approval, rationale: str) -> None:
        answer = await client.ask(
            EXECUTOR,
            VERB,
            {"approval_id": approval.approval_id, "rationale": rationale},
            principal=caller.principal,
            tenant=approval.tenant,
            request_key=derived_id(VERB, approval.approval_id, caller.request_key),
            timeout=timeout,
        )
        if answer.get("revoked") is not True:
            raise ApprovalUsed(approval.approval_id, str(answer.get("reason") or "the executor does not say why"))

    return take_back
