"""`evidence.bundle`: one file with an incident's leaves, payloads and hashes, kept by its SHA-256.

The log names it: the fact of the step that made it carries a reference {evidence, sha256, length}, which stands in its
leaf. Whoever has the file can compare it with the log; `manifest` says which leaves it holds.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import StringConstraints

from libs.actions import Action, ActionContext, ActionResult, Arguments, Effect
from libs.common.errors import RangerError
from libs.common.objectstore import StoreUnavailable
from libs.common.policy import Principal
from libs.common.rpc import RpcClient
from services.executor.model import SERVICE
from services.executor.worker.objects import Objects

FORMAT: Final = "rr.evidence/1"
PAGE: Final = 200


class EvidenceArguments(Arguments):
    """Of which incident; by default the one that the execution is for."""

    incident_id: Annotated[str, StringConstraints(max_length=64)] | None = None


class EvidenceBundle(Action[EvidenceArguments]):
    """Collect what the log holds of the incident up to now.

    Outputs: `sha256`, `length`, `leaves`. The same leaves make the same bytes, so a repetition makes the same file.
    """

    name: ClassVar[str] = "evidence.bundle"
    summary: ClassVar[str] = "A file with the incident's leaves, payloads and hashes, named by the log"
    arguments = EvidenceArguments

    def __init__(self, client: RpcClient, objects: Objects) -> None:
        self._client = client
        self._objects = objects

    def effects(self, arguments: EvidenceArguments) -> tuple[Effect, ...]:
        """It changes no target; a second file of the same name has the same content."""
        del arguments
        return (Effect.READ, Effect.IDEMPOTENT)

    async def run(self, arguments: EvidenceArguments, context: ActionContext) -> ActionResult:
        """Ask the timeline, write the file, name it."""
        incident_id = arguments.incident_id or context.incident_id
        if not incident_id:
            text = "the execution is for no incident: name one in incident_id"
            return ActionResult.failed("no_incident", text, effect_possible=False)
        try:
            leaves = await self._leaves(context.tenant_id, incident_id)
        except RangerError as error:
            code = f"timeline_{error.reason_code}"
            return ActionResult.failed(code, error.detail, effect_possible=False, retryable=True)
        data = bundle(incident_id, leaves)
        try:
            kept = await self._objects.keep(context.tenant_id, "evidence", data)
        except StoreUnavailable as error:
            return ActionResult.failed(error.reason_code, error.detail, effect_possible=False, retryable=True)
        named = {"sha256": kept["sha256"], "length": len(data), "leaves": len(leaves)}
        return ActionResult.succeeded(named, {"objects": [kept]})

    async def _leaves(self, tenant: str, incident_id: str) -> list[Mapping[str, Any]]:
        ask = _asker(self._client, tenant)
        found: list[Mapping[str, Any]] = []
        after = -1
        while entries := (await ask("list", {"incident_id": incident_id, "after": after, "limit": PAGE}))["entries"]:
            for entry in entries:
                page = await ask("leaves", {"first": entry["index"], "limit": 1})
                found.append(page["leaves"][0] | {"event_id": entry["event_id"], "type": entry["type"]})
            after = entries[-1]["index"]
        return found


def bundle(incident_id: str, leaves: list[Mapping[str, Any]]) -> bytes:
    """The file's bytes: JSON with sorted keys, leaves in the log's order."""
    manifest = [
        {"index": leaf["index"], "event_id": leaf["event_id"], "type": leaf["type"], "event_hash": leaf["event_hash"]}
        for leaf in leaves
    ]
    document = {"v": FORMAT, "incident_id": incident_id, "manifest": manifest, "leaves": leaves}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


Ask = Callable[[str, Mapping[str, Any]], Any]


def _asker(client: RpcClient, tenant: str) -> Ask:
    async def ask(verb: str, question: Mapping[str, Any]) -> dict[str, Any]:
        return await client.ask("timeline", verb, question, principal=Principal.system(SERVICE), tenant=tenant)

    return ask
