"""The catalog's parts, put together."""

from libs.common.artefacts import ArtefactRelay, Artefacts
from libs.common.clock import utc_now
from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.objectsettings import ObjectSettings
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from services.catalog.handlers import CatalogDesk, Matcher
from services.catalog.storage import Shelf


async def wire(runtime: Runtime) -> None:
    """The desk that answers, the consumer that matches, and what takes published versions to the object store."""
    outbox, shelf = Outbox(runtime.service, runtime.database.schema), Shelf()
    CatalogDesk(outbox, shelf, utc_now).register(runtime.rpc)
    runtime.add("artefacts", ArtefactRelay(runtime.database, Artefacts(ObjectSettings.read().store()), runtime.pulse))
    runtime.consume(EVENTS, decode_fact, Matcher(outbox, shelf, utc_now).handle)
