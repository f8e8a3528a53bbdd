"""Hangs the approvals service's parts onto its process."""

from datetime import timedelta

from libs.common.artefacts import ArtefactRelay, Artefacts
from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.objectsettings import ObjectSettings
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from libs.common.rpc import RpcClient
from services.approvals import commands
from services.approvals.census import Census
from services.approvals.handlers import Handlers
from services.approvals.links import Signer
from services.approvals.looking import Looking
from services.approvals.model import SERVICE
from services.approvals.revocation import from_executor
from services.approvals.settings import ApprovalsSettings
from services.approvals.timers import Timers
from services.approvals.usecases import UseCases


async def wire(rt: Runtime) -> None:
    """The consumer of EVENTS, the verbs, the timers, the census, and what takes decisions to the object store."""
    settings = ApprovalsSettings.read()
    outbox = Outbox(SERVICE, rt.database.schema)
    signer = Signer.of(settings.link_secret.get_secret_value())
    client = RpcClient(rt.bus, timeout=settings.rpc_timeout_seconds)
    people = UseCases(
        outbox,
        from_executor(client, timeout=settings.approval_revoke_seconds),
        timedelta(seconds=settings.approval_valid_seconds),
        signer,
    )
    looking = Looking(signer)
    rt.consume(EVENTS, decode_fact, Handlers(outbox, settings.approval_expires_seconds).apply)
    rt.rpc.query("list", commands.ListApprovals, looking.page)
    rt.rpc.query("get", commands.GetApproval, looking.show)
    rt.rpc.query("link", commands.MakeLink, looking.link)
    rt.rpc.query("follow_link", commands.OpenLink, looking.follow)
    rt.rpc.command("grant", commands.GrantApproval, people.grant)
    rt.rpc.command("reject", commands.RejectApproval, people.reject)
    rt.rpc.command("revoke", commands.RevokeApproval, people.revoke)
    rt.rpc.command("withdraw_vote", commands.WithdrawVote, people.withdraw_vote)
    rt.rpc.command("grant_by_link", commands.GrantByLink, people.grant_by_link)
    rt.rpc.command("reject_by_link", commands.RejectByLink, people.reject_by_link)
    rt.add("artefacts", ArtefactRelay(rt.database, Artefacts(ObjectSettings.read().store()), rt.pulse))
    rt.add("timers", Timers(rt.database, outbox, rt.pulse))
    rt.add("census", Census(rt.database, every_seconds=settings.approval_census_seconds))
