"""The catalog's parts, put together."""

from libs.common.clock import utc_now
from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from services.catalog.handlers import CatalogDesk, Matcher
from services.catalog.storage import Shelf


async def wire(runtime: Runtime) -> None:
    """The desk that answers, and the consumer that matches."""
    outbox, shelf = Outbox(runtime.service, runtime.database.schema), Shelf()
    CatalogDesk(outbox, shelf, utc_now).register(runtime.rpc)
    runtime.consume(EVENTS, decode_fact, Matcher(outbox, shelf, utc_now).handle)
