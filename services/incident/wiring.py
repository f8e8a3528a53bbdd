"""Hangs the incident service's parts onto its process."""

from libs.common.clock import utc_now
from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS, INGRESS
from libs.common.ids import new_id
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from services.incident.census import Census
from services.incident.commands import GetIncident, ListIncidents, TransitionIncident
from services.incident.handlers import Handlers
from services.incident.intake import alert_decoder
from services.incident.settings import IncidentSettings
from services.incident.usecases import SERVICE, UseCases


async def wire(rt: Runtime) -> None:
    """Consumers of INGRESS and EVENTS, three verbs, and the census."""
    settings = IncidentSettings.read()
    handlers = Handlers(UseCases(Outbox(SERVICE, rt.database.schema), utc_now, new_id))
    rt.consume(INGRESS, alert_decoder(settings.tenant), handlers.alerts)
    rt.consume(EVENTS, decode_fact, handlers.facts)
    rt.rpc.query("get", GetIncident, handlers.get)
    rt.rpc.query("list", ListIncidents, handlers.list)
    rt.rpc.command("transition", TransitionIncident, handlers.transition)
    rt.add("census", Census(rt.database, every_seconds=settings.incident_census_seconds))
