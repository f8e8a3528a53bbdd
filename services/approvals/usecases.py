"""What people ask of the approvals service. Each use case runs inside the transaction that stores its answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from libs.common.clock import rfc3339
from libs.common.crash import crash_point
from libs.common.database import Tx
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Resource, decide, require, require_scope
from libs.common.rpc import Answer, Caller
from services.approvals import storage, telling, views
from services.approvals.commands import (
    Decision,
    GetApproval,
    GrantApproval,
    ListApprovals,
    RejectApproval,
    RevokeApproval,
)
from services.approvals.errors import NoSuchApproval
from services.approvals.model import Approval, Told, Word, granted, rejected, revoked

KIND = "approval"

TakeBack: TypeAlias = Callable[[Caller, Approval, str], Awaitable[None]]
"""Has the executor give up its copy of a grant, for a reason; raises `ApprovalUsed` or `Unavailable`."""


@dataclass(frozen=True, slots=True)
class UseCases:
    """The service's verbs. `valid_for` is how long a grant may be used."""

    outbox: Outbox
    take_back: TakeBack
    valid_for: timedelta

    async def grant(self, tx: Tx, caller: Caller, command: GrantApproval) -> Answer:
        """Yes.

        Raises:
            NoSuchApproval, Denied, Conflict: as `model.granted` says; nothing changed.
        """
        approval, now = await _locked(tx, caller, command.approval_id, "approval.decide")
        told = granted(
            approval,
            _word(caller, command),
            plan_hash=command.plan_hash,
            action_hash=command.action_hash,
            now=now,
            valid_for=self.valid_for,
        )
        return await self._told(tx, caller, told, now)

    async def reject(self, tx: Tx, caller: Caller, command: RejectApproval) -> Answer:
        """No.

        Raises:
            NoSuchApproval, Denied, Conflict: as `model.rejected` says; nothing changed.
        """
        approval, now = await _locked(tx, caller, command.approval_id, "approval.decide")
        return await self._told(tx, caller, rejected(approval, _word(caller, command), now=now), now)

    async def revoke(self, tx: Tx, caller: Caller, command: RevokeApproval) -> Answer:
        """Take a grant back: the executor first, then here. Dying in between leaves it granted here and void there,
        and asking again completes it.

        Raises:
            NoSuchApproval, Denied, UndefinedMove, ApprovalUsed: nothing changed.
            Unavailable: the executor did not answer; whether it has let go is known when it is asked again.
        """
        approval, now = await _locked(tx, caller, command.approval_id, "approval.revoke")
        told = revoked(approval, _word(caller, command), now=now)
        await self.take_back(caller, approval, command.rationale)
        crash_point("approvals_revocation_confirmed")
        return await self._told(tx, caller, told, now)

    async def show(self, tx: Tx, caller: Caller, question: GetApproval) -> Answer:
        """One approval, whole.

        Raises:
            NoSuchApproval: there is none, or the caller may not see it.
        """
        found = await views.whole(tx, caller.tenant, question.approval_id)
        if found is None or not (await decide(caller.principal, "approval.view", as_shown(found))).allow:
            raise NoSuchApproval(question.approval_id)
        return found

    async def page(self, tx: Tx, caller: Caller, question: ListApprovals) -> Answer:
        """A page of the tenant's approvals; `next` continues it, and is null on the last page.

        Raises:
            Denied: the caller may not look into this tenant.
        """
        scope = await require_scope(caller.principal, "approval.view", KIND, caller.tenant)
        filters = question.model_dump(exclude={"limit"})
        items = await views.page(tx, caller.tenant, scope, **filters, limit=question.limit + 1)
        more = len(items) > question.limit
        shown = items[: question.limit]
        return {"items": shown, "next": shown[-1]["approval_id"] if more else None}

    async def _told(self, tx: Tx, caller: Caller, told: Told, now: datetime) -> dict[str, Any]:
        await telling.tell(tx, self.outbox, [(told, _commanded(told.approval, caller))], now=now)
        approval = told.approval
        until = approval.valid_until
        return {
            "approval_id": approval.approval_id,
            "state": approval.state,
            "version": approval.version,
            "execution_id": approval.execution_id,
            "valid_until": rfc3339(until) if until is not None else None,
        }


async def _locked(tx: Tx, caller: Caller, approval_id: str, action: str) -> tuple[Approval, datetime]:
    """The approval and the moment at which its lock was had.

    Raises:
        NoSuchApproval, Denied: nothing changed.
    """
    approval = await storage.lock(tx, caller.tenant, approval_id)
    if approval is None or not (await decide(caller.principal, "approval.view", about(approval))).allow:
        raise NoSuchApproval(approval_id)
    await require(caller.principal, action, about(approval))
    return approval, await storage.moment(tx)


def about(approval: Approval) -> Resource:
    """An approval as policy knows it."""
    return Resource(
        KIND,
        approval.approval_id,
        approval.tenant,
        risk=approval.risk,
        status=approval.state,
        environment=approval.environment,
        clearance=approval.clearance,
        requester=approval.requester,
        version=approval.version,
    )


def as_shown(found: Mapping[str, Any]) -> Resource:
    """An approval that was read whole, as policy knows it."""
    return Resource(
        KIND,
        found["approval_id"],
        found["tenant_id"],
        risk=found["risk"],
        status=found["state"],
        environment=found["environment"],
        clearance=found["clearance"],
        requester=found["requester"],
        version=found["version"],
    )


def _word(caller: Caller, command: Decision) -> Word:
    principal = caller.principal
    return Word(actor=principal.actor, roles=principal.roles, rationale=command.rationale, channel=command.channel)


def _commanded(approval: Approval, caller: Caller) -> Cause:
    """A command has no event id; the id derived from its request key names it, and nothing of the key's text."""
    return Cause(
        tenant=approval.tenant,
        actor=caller.principal.actor,
        correlation=approval.correlation,
        causation=derived_id("command", caller.tenant, caller.request_key),
        incident_id=approval.incident_id,
        execution_id=approval.execution_id,
        runbook_id=approval.runbook_id,
        traceparent=caller.traceparent,
        marking=approval.marking,
    )
