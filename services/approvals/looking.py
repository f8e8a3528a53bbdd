"""What people see of approvals. Nothing here changes anything, whoever follows whichever link."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import Tx
from libs.common.policy import Context, Principal, Question, Scope, decide, decide_many, require_scope
from libs.common.rpc import Answer, Caller
from services.approvals import pages, storage, views
from services.approvals.commands import GetApproval, ListApprovals, MakeLink, OpenLink
from services.approvals.deciding import open_to
from services.approvals.errors import ApprovalDrift, LinkElsewhere, NoSuchApproval, Superseded
from services.approvals.lifecycle import after
from services.approvals.links import Link, Signer
from services.approvals.model import Approval, Word

EXPLAINED: Final = Context(rationale_present=True)
"""A decision has its reason, or it is none: commands want one."""
AT_ONCE: Final = 100
PATH: Final = "/approvals/by-link?token="
"""Where the gateway shows what a link is about."""


@dataclass(frozen=True, slots=True)
class Looking:
    """The service's questions."""

    signer: Signer

    async def show(self, tx: Tx, caller: Caller, question: GetApproval) -> Answer:
        """One approval, whole.

        Raises:
            NoSuchApproval: there is none, or the caller may not see it.
        """
        return views.whole(await _visible(tx, caller, question.approval_id))

    async def page(self, tx: Tx, caller: Caller, question: ListApprovals) -> Answer:
        """A page of the tenant's approvals; `next` continues it, and is null on the last page.

        With `mine`, those that a yes of the caller would count for now: exactly those that policy lets them decide,
        that are open, and that they have not voted on.

        Raises:
            Denied: the caller may not look into this tenant.
        """
        scope = await require_scope(caller.principal, "approval.view", views.KIND, caller.tenant)
        find = self._mine if question.mine else _any
        found = await find(tx, caller, scope, question)
        shown = [views.brief(approval) for approval in found[: question.limit]]
        return {"items": shown, "next": shown[-1]["approval_id"] if len(found) > question.limit else None}

    async def link(self, tx: Tx, caller: Caller, question: MakeLink) -> Answer:
        """A path that shows this question, and through which exactly it is decided; good as long as it is open.

        Raises:
            NoSuchApproval, UndefinedMove, LinksOff: there is nothing to decide through a link.
        """
        approval = await _visible(tx, caller, question.approval_id)
        after(approval.state, "grant")
        link = Link(
            tenant=approval.tenant,
            approval_id=approval.approval_id,
            plan_hash=approval.plan_hash,
            action_hash=approval.action_hash,
            until=int(approval.expires_at.timestamp()),
        )
        token, until = self.signer.sign(link), rfc3339(approval.expires_at)
        return {"approval_id": approval.approval_id, "path": f"{PATH}{token}", "token": token, "expires_at": until}

    async def follow(self, tx: Tx, caller: Caller, question: OpenLink) -> Answer:
        """What a link is about.

        Raises:
            LinkInvalid, LinkTooOld, LinkElsewhere, ApprovalDrift, Superseded, NoSuchApproval: and why.
        """
        link = await followed(tx, self.signer, caller, question.token)
        approval = await _visible(tx, caller, link.approval_id)
        check_link(approval, link)
        return views.whole(approval)

    async def _mine(self, tx: Tx, caller: Caller, scope: Scope, question: ListApprovals) -> list[Approval]:
        """One more than asked for, if there are so many."""
        found: list[Approval] = []
        last, wanted = question.after, question.limit + 1
        while len(found) < wanted:
            rows = await pages.page(tx, caller.tenant, scope, pages.open_of(question, last), limit=AT_ONCE)
            found += await _decidable(tx, caller.principal, rows)
            if len(rows) < AT_ONCE:
                break
            last = rows[-1].approval_id
        return found[:wanted]


async def _any(tx: Tx, caller: Caller, scope: Scope, question: ListApprovals) -> list[Approval]:
    return await pages.page(tx, caller.tenant, scope, pages.wanted(question), limit=question.limit + 1)


async def _decidable(tx: Tx, principal: Principal, rows: Sequence[Approval]) -> list[Approval]:
    now = await storage.moment(tx)
    word = Word(actor=principal.actor, names=names_of(principal), rationale="", channel="")
    fitting = [approval for approval in rows if open_to(approval, word, now)]
    asked = [Question(principal, "approval.decide", views.about(approval), EXPLAINED) for approval in fitting]
    decisions = await decide_many(asked, simulated=True)
    return [approval for approval, decision in zip(fitting, decisions, strict=True) if decision.allow]


async def followed(tx: Tx, signer: Signer, caller: Caller, token: str) -> Link:
    """The link, if it is good, and for the caller's tenant.

    Raises:
        LinkInvalid, LinkTooOld, LinkElsewhere: it is not.
    """
    link = signer.read(token, now=await storage.moment(tx))
    if link.tenant != caller.tenant:
        raise LinkElsewhere
    return link


def check_link(approval: Approval, link: Link) -> None:
    """Whether the question is still the one that the link was made for.

    Raises:
        ApprovalDrift, Superseded: it is not.
    """
    hashes = ("plan_hash", "action_hash")
    drifted = [name for name in hashes if getattr(link, name) != getattr(approval, name)]
    if drifted:
        raise ApprovalDrift(approval.approval_id, drifted)
    if approval.state == "withdrawn" and approval.rationale == "superseded":
        raise Superseded(approval.approval_id)


def names_of(principal: Principal) -> frozenset[str]:
    """The names by which a question may call somebody: roles and groups, as policy has it."""
    return principal.roles | principal.groups


async def _visible(tx: Tx, caller: Caller, approval_id: str) -> Approval:
    """One approval, as it is read; not locked.

    Raises:
        NoSuchApproval: there is none, or the caller may not see it.
    """
    found = await pages.one(tx, caller.tenant, approval_id)
    if found is None or not (await decide(caller.principal, "approval.view", views.about(found))).allow:
        raise NoSuchApproval(approval_id)
    return found
