"""Hangs the incident service's parts onto its process."""

from typing import Final

from libs.common.clock import utc_now
from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS, INGRESS
from libs.common.ids import new_id
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from services.incident import commands
from services.incident.census import Census
from services.incident.handlers import Handlers
from services.incident.intake import alert_decoder
from services.incident.orders import Orders
from services.incident.settings import IncidentSettings
from services.incident.telling import SERVICE
from services.incident.usecases import UseCases

INTAKE_BYTES: Final = 64 * 1024
"""Of posts in one transaction: some 250 alerts, however they are grouped. One is a thing of 250 bytes on the bus, and
takes a hundred times that until it is committed."""


async def wire(rt: Runtime) -> None:
    """Consumers of INGRESS and EVENTS, seven verbs, and the census."""
    settings = IncidentSettings.read()
    means = Outbox(SERVICE, rt.database.schema), utc_now, new_id, settings.sla
    handlers = Handlers(UseCases(*means), Orders(*means))
    rt.consume(INGRESS, alert_decoder(settings.tenant), handlers.alerts, batch_bytes=INTAKE_BYTES)
    rt.consume(EVENTS, decode_fact, handlers.facts)
    rt.rpc.query("get", commands.GetIncident, handlers.get)
    rt.rpc.query("list", commands.ListIncidents, handlers.list)
    rt.rpc.command("create", commands.CreateIncident, handlers.create)
    rt.rpc.command("transition", commands.TransitionIncident, handlers.transition)
    rt.rpc.command("severity", commands.ChangeSeverity, handlers.severity)
    rt.rpc.command("owner", commands.ChangeOwner, handlers.owner)
    rt.rpc.command("link_runbook", commands.LinkRunbook, handlers.link_runbook)
    rt.add("census", Census(rt.database, every_seconds=settings.incident_census_seconds))
