"""Hangs the approvals service's parts onto its process."""

from datetime import timedelta

from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from libs.common.rpc import RpcClient
from services.approvals import commands
from services.approvals.census import Census
from services.approvals.handlers import Handlers
from services.approvals.model import SERVICE
from services.approvals.revocation import from_executor
from services.approvals.settings import ApprovalsSettings
from services.approvals.timers import Timers
from services.approvals.usecases import UseCases


async def wire(rt: Runtime) -> None:
    """The consumer of EVENTS, five verbs, the timers and the census."""
    settings = ApprovalsSettings.read()
    outbox = Outbox(SERVICE, rt.database.schema)
    client = RpcClient(rt.bus, timeout=settings.rpc_timeout_seconds)
    people = UseCases(
        outbox,
        from_executor(client, timeout=settings.approval_revoke_seconds),
        timedelta(seconds=settings.approval_valid_seconds),
    )
    rt.consume(EVENTS, decode_fact, Handlers(outbox, settings.approval_expires_seconds).apply)
    rt.rpc.query("list", commands.ListApprovals, people.page)
    rt.rpc.query("get", commands.GetApproval, people.show)
    rt.rpc.command("grant", commands.GrantApproval, people.grant)
    rt.rpc.command("reject", commands.RejectApproval, people.reject)
    rt.rpc.command("revoke", commands.RevokeApproval, people.revoke)
    rt.add("timers", Timers(rt.database, outbox))
    rt.add("census", Census(rt.database, every_seconds=settings.approval_census_seconds))
