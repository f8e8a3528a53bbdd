"""A catalog, an incident service and a timeline that answer over NATS from what a test puts into them."""

from collections.abc import Callable, Mapping
from typing import Any

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from libs.common.bus import round_trip
from libs.common.errors import NotFound, RangerError
from libs.runbook.hashing import spec_hash
from libs.runbook.spec import Runbook

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Neighbours:
    """They answer in the shapes of the services whose place they take."""

    def __init__(self) -> None:
        self.runbooks: dict[tuple[str, int], Runbook] = {}
        self.incidents: dict[str, dict[str, Any]] = {}
        self.entries: list[dict[str, Any]] = []
        self._client: Client | None = None

    async def serve(self, url: str) -> None:
        """Answer until `close`."""
        self._client = await nats.connect(url, allow_reconnect=False)
        await self._answer("rpc.catalog.get_version", self._version)
        await self._answer("rpc.incident.get", self._incident)
        await self._answer("rpc.timeline.list", self._listed)
        await self._answer("rpc.timeline.leaves", self._leaves)

    async def close(self) -> None:
        """Answer no more."""
        if self._client is not None:
            await self._client.close()

    def publish(self, spec: Runbook, version: int = 1) -> None:
        """A version of a runbook."""
        self.runbooks[spec.id, version] = spec

    def open(self, incident_id: str, *, alerts: int = 1, **labels: str) -> None:
        """An incident, whose opening alert had these labels."""
        alert = {"alert_id": "a", "name": "slow", "severity": "high", "status": "firing"}
        self.incidents[incident_id] = {
            "incident_id": incident_id, "title": "It is slow", "alert_name": "slow" if alerts else None,
            "severity": "high", "labels": labels, "annotations": {}, "alerts": [alert] * alerts,
        }  # fmt: skip

    async def _answer(self, subject: str, answer: Answer) -> None:
        async def handle(message: Msg) -> None:
            try:
                reply = {"ok": answer(orjson.loads(message.data)["body"])}
            except RangerError as error:
                reply = {"error": error.to_wire()}
            await message.respond(orjson.dumps(reply))

        assert self._client is not None
        await self._client.subscribe(subject, cb=handle)
        await round_trip(self._client)

    def _version(self, body: Mapping[str, Any]) -> dict[str, Any]:
        versions = [version for name, version in self.runbooks if name == body["runbook_id"]]
        version = body.get("version", max(versions, default=0))
        spec = self.runbooks.get((body["runbook_id"], version))
        if spec is None:
            raise NotFound("There is no such runbook.", code="runbook_not_found")
        content = spec.to_json()
        return {"runbook_id": spec.id, "version": version, "spec_hash": spec_hash(content), "spec": content}

    def _incident(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = self.incidents.get(body["incident_id"])
        if found is None:
            raise NotFound("There is no such incident.", code="incident_not_found")
        return found

    def _listed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        own = [entry for entry in self.entries if entry["incident_id"] == body["incident_id"]]
        page = [entry for entry in own if entry["index"] > body["after"]][: body["limit"]]
        return {"entries": page, "next": page[-1]["index"] if page else None}

    def _leaves(self, body: Mapping[str, Any]) -> dict[str, Any]:
        page = [entry["leaf"] for entry in self.entries if entry["index"] >= body["first"]][: body["limit"]]
        return {"leaves": page, "next": None}
