"""What people do through the approvals service. Each use case runs inside the transaction that stores its answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from libs.common.clock import rfc3339
from libs.common.crash import crash_point
from libs.common.database import Tx
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Decision, Resource, decide, require
from libs.common.rpc import Answer, Caller
from services.approvals import commands, looking, storage, telling, views
from services.approvals.deciding import agreed, rejected, revoked, vote_withdrawn
from services.approvals.errors import NoSuchApproval
from services.approvals.links import Signer
from services.approvals.model import Approval, Told, Word

TakeBack: TypeAlias = Callable[[Caller, Approval, str], Awaitable[None]]
"""Has the executor give up its copy of a grant, for a reason; raises `ApprovalUsed` or `Unavailable`."""


@dataclass(frozen=True, slots=True)
class UseCases:
    """The service's commands. `valid_for` is how long a grant may be used."""

    outbox: Outbox
    take_back: TakeBack
    valid_for: timedelta
    signer: Signer

    async def grant(self, tx: Tx, caller: Caller, command: commands.GrantApproval) -> Answer:
        """Yes: a vote, which grants where it is the last that it takes.

        Raises:
            NoSuchApproval, Denied, Conflict, InvalidInput: as `deciding.agreed` says; nothing changed.
        """
        approval, now = await _locked(tx, caller, command.approval_id)
        seen = {"plan_hash": command.plan_hash, "action_hash": command.action_hash}
        return await self._agree(tx, caller, approval, command, command.values, now, **seen)

    async def grant_by_link(self, tx: Tx, caller: Caller, command: commands.GrantByLink) -> Answer:
        """Yes, to what a link was made for.

        Raises:
            LinkInvalid, LinkTooOld, LinkElsewhere, ApprovalDrift, Superseded: the link is not good, or not for that.
            NoSuchApproval, Denied, Conflict, InvalidInput: as `grant`; nothing changed.
        """
        link = await looking.followed(tx, self.signer, caller, command.token)
        approval, now = await _locked(tx, caller, link.approval_id)
        looking.check_link(approval, link)
        seen = {"plan_hash": link.plan_hash, "action_hash": link.action_hash}
        return await self._agree(tx, caller, approval, command, command.values, now, **seen)

    async def reject(self, tx: Tx, caller: Caller, command: commands.RejectApproval) -> Answer:
        """No.

        Raises:
            NoSuchApproval, Denied, Conflict: as `deciding.rejected` says; nothing changed.
        """
        approval, now = await _locked(tx, caller, command.approval_id)
        return await self._refuse(tx, caller, approval, command, now)

    async def reject_by_link(self, tx: Tx, caller: Caller, command: commands.RejectByLink) -> Answer:
        """No, to what a link was made for.

        Raises:
            As `grant_by_link`.
        """
        link = await looking.followed(tx, self.signer, caller, command.token)
        approval, now = await _locked(tx, caller, link.approval_id)
        looking.check_link(approval, link)
        return await self._refuse(tx, caller, approval, command, now)

    async def withdraw_vote(self, tx: Tx, caller: Caller, command: commands.WithdrawVote) -> Answer:
        """Take one's own yes back; who may see the question may, whatever else they may by now.

        Raises:
            NoSuchApproval, Conflict: as `deciding.vote_withdrawn` says; nothing changed.
        """
        approval, now = await _locked(tx, caller, command.approval_id)
        decision = await require(caller.principal, "approval.view", views.about(approval), looking.EXPLAINED)
        told = vote_withdrawn(approval, _word(caller, command, decision), now=now)
        return await self._told(tx, caller, [told], now)

    async def revoke(self, tx: Tx, caller: Caller, command: commands.RevokeApproval) -> Answer:
        """Take a grant back: the executor first, then here. Dying in between leaves it granted here and void there,
        and asking again completes it.

        Raises:
            NoSuchApproval, Denied, UndefinedMove, ApprovalUsed: nothing changed.
            Unavailable: the executor did not answer; whether it has let go is known when it is asked again.
        """
        approval, now = await _locked(tx, caller, command.approval_id)
        decision = await require(caller.principal, "approval.revoke", views.about(approval), looking.EXPLAINED)
        told = revoked(approval, _word(caller, command, decision), now=now)
        await self.take_back(caller, approval, command.rationale)
        crash_point("approvals_revocation_confirmed")
        return await self._told(tx, caller, [told], now)

    async def _agree(
        self,
        tx: Tx,
        caller: Caller,
        approval: Approval,
        said: commands.Said,
        values: Mapping[str, Any],
        now: datetime,
        *,
        plan_hash: str,
        action_hash: str,
    ) -> Answer:
        decision = await _allowed(caller, views.about(approval))
        told = agreed(
            approval,
            _word(caller, said, decision),
            plan_hash=plan_hash,
            action_hash=action_hash,
            now=now,
            valid_for=self.valid_for,
            values=values,
        )
        answer = await self._told(tx, caller, told, now)
        crash_point("approvals_vote_counted")
        return answer

    async def _refuse(self, tx: Tx, caller: Caller, approval: Approval, said: commands.Said, now: datetime) -> Answer:
        """Whoever asked may say no to it: of them policy is asked as if nobody had, and nobody in particular may."""
        own = caller.principal.actor == approval.requester
        resource = views.own(approval) if own else views.about(approval)
        decision = await _allowed(caller, resource)
        told = rejected(approval, _word(caller, said, decision), now=now)
        return await self._told(tx, caller, [told], now)

    async def _told(self, tx: Tx, caller: Caller, story: Sequence[Told], now: datetime) -> dict[str, Any]:
        await telling.tell(tx, self.outbox, [(told, _commanded(told.approval, caller)) for told in story], now=now)
        approval = story[-1].approval
        until = approval.valid_until
        return {
            "approval_id": approval.approval_id,
            "state": approval.state,
            "version": approval.version,
            "execution_id": approval.execution_id,
            "valid_until": rfc3339(until) if until is not None else None,
            "votes": len(approval.standing),
            "quorum": approval.quorum,
        }


async def _locked(tx: Tx, caller: Caller, approval_id: str) -> tuple[Approval, datetime]:
    """The approval and the moment at which its lock was had.

    Raises:
        NoSuchApproval: there is none, or the caller may not see it.
    """
    found = await storage.lock(tx, caller.tenant, approval_id)
    if found is None or not (await decide(caller.principal, "approval.view", views.about(found[0]))).allow:
        raise NoSuchApproval(approval_id)
    return found


async def _allowed(caller: Caller, resource: Resource) -> Decision:
    """What policy says of this decision, asked anew for each.

    Raises:
        Denied: no.
    """
    return await require(caller.principal, "approval.decide", resource, looking.EXPLAINED)


def _word(caller: Caller, said: commands.Said, decision: Decision) -> Word:
    principal = caller.principal
    return Word(
        actor=principal.actor,
        names=looking.names_of(principal),
        rationale=said.rationale,
        channel=said.channel,
        method=principal.method,
        decision_id=decision.decision_id,
        policy_revision=decision.revision,
    )


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
