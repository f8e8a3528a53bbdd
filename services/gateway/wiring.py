"""Puts the gateway together."""

import asyncio

from libs.common.health import server
from libs.common.objectsettings import ObjectSettings
from libs.common.process import Runtime
from libs.common.rpc import RpcClient
from services.gateway.application import application
from services.gateway.evidence.desk import EvidenceDesk
from services.gateway.evidence.downloads import Downloads
from services.gateway.evidence.holds import HoldDesk
from services.gateway.evidence.links import Links
from services.gateway.evidence.redactions import Recovery, RedactionDesk
from services.gateway.flags.book import FlagBook
from services.gateway.flags.desk import FlagDesk
from services.gateway.principals.reception import Reception
from services.gateway.settings import GatewaySettings
from services.gateway.tail import Tail


class PublicFace:
    """The public port, served for as long as the process lives."""

    def __init__(
        self, settings: GatewaySettings, rt: Runtime, reception: Reception, tail: Tail, book: FlagBook
    ) -> None:
        self._ended = asyncio.Event()
        self._tail = tail
        client = RpcClient(rt.bus, timeout=settings.rpc_timeout_seconds)
        flags = (book, FlagDesk(rt.database, book))
        app = application(settings, reception, rt.bus, client, tail, flags, _evidence(settings, rt))
        self._server = server(app, host=settings.gateway_host, port=settings.gateway_port)

    async def run(self) -> None:
        """Serve; after `stop`, stay until cancelled, so that the other parts live while the last answers leave."""
        try:
            await self._server.serve()
        finally:
            self._ended.set()
        if self._server.should_exit:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        """Take no new requests and wait for those under way; who follows the events is let go at once."""
        self._tail.close()
        self._server.leave()
        await self._ended.wait()


def _evidence(settings: GatewaySettings, rt: Runtime) -> tuple[EvidenceDesk, HoldDesk, RedactionDesk, Downloads]:
    """What gives out URLs of evidence, what holds and redacts it, and what serves it."""
    store = ObjectSettings.read().store()
    try:
        links = Links.of(settings.evidence_secret.get_secret_value())
    except ValueError as error:
        raise SystemExit(f"settings: RR_EVIDENCE_SECRET: {error}") from None
    desk = EvidenceDesk(rt.database, store, links, via_gateway=settings.evidence_via_gateway)
    return desk, HoldDesk(rt.database), RedactionDesk(rt.database), Downloads(store, links)


async def wire(rt: Runtime) -> None:
    """One HTTP server; its readiness is that of the bus and of the database."""
    settings = GatewaySettings.read()
    tail = Tail(rt.bus, listeners=settings.gateway_streams)
    reception = Reception.open(settings, rt.database)
    book = FlagBook(rt.database)
    face = PublicFace(settings, rt, reception, tail, book)
    rt.health.add("flags", book.ready)
    rt.add("flags", book)
    rt.add("http", face)
    rt.add("events", tail)
    client = RpcClient(rt.bus, timeout=settings.rpc_timeout_seconds)
    rt.add("redactions", Recovery(RedactionDesk(rt.database), client, seconds=settings.redaction_recovery_seconds))
    for name, part in reception.parts:
        rt.add(name, part)
    rt.on_stop += [face.stop, *reception.on_stop]
