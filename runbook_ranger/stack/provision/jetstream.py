"""JetStream's management API, as JSON over request/reply: every field is ours to see, none is defaulted by a client."""

import json
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.provision.wanted import EPOCH_KEY, Json

PATIENCE = 10.0
NOT_FOUND = {10014, 10059}  # consumer, stream


class JetStreamRefusedError(StackError):
    """The server answered a management request with an error."""

    def __init__(self, subject: str, code: int, description: str) -> None:
        self.subject, self.code = subject, code
        hint = "; RR_EVENTS_MAX_BYTES must fit on the disk" if "insufficient" in description else ""
        super().__init__(f"{subject}: {description} ({code}){hint}")


@dataclass(frozen=True)
class JetStream:
    """Streams and consumers of one server."""

    client: Client

    async def stream(self, name: str) -> Json | None:
        """A stream's configuration; None when there is no such stream."""
        answer = await self._ask_maybe(f"STREAM.INFO.{name}", {})
        return answer["config"] if answer else None

    async def create_stream(self, config: Json) -> None:
        """Make a stream; raises when one of that name exists with other settings."""
        await self._ask(f"STREAM.CREATE.{config['name']}", config)

    async def update_stream(self, config: Json) -> None:
        """Change an existing stream's settings; its messages stay."""
        await self._ask(f"STREAM.UPDATE.{config['name']}", config)

    async def delete_stream(self, name: str) -> None:
        """Delete a stream with all its messages and consumers; nothing happens when it is not there."""
        await self._ask_maybe(f"STREAM.DELETE.{name}", {})

    async def consumer(self, stream: str, name: str) -> dict[str, Any] | None:
        """A consumer's `config` and positions; None when there is no such consumer."""
        return await self._ask_maybe(f"CONSUMER.INFO.{stream}.{name}", {})

    async def consumer_names(self, stream: str) -> list[str]:
        """All consumers of a stream, through every page."""
        names: list[str] = []
        while True:
            page = await self._ask(f"CONSUMER.NAMES.{stream}", {"offset": len(names)})
            names += page["consumers"] or []
            if len(names) >= page["total"] or not page["consumers"]:
                return names

    async def create_consumer(self, stream: str, config: Json) -> None:
        """Make a durable; raises when one of that name exists with other settings."""
        request: Json = {"stream_name": stream, "config": config, "action": "create"}
        await self._ask(f"CONSUMER.CREATE.{stream}.{config['name']}", request)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Delete a durable and forget its position."""
        await self._ask(f"CONSUMER.DELETE.{stream}.{name}", {})

    async def _ask(self, verb: str, request: Json) -> dict[str, Any]:
        reply = await self.client.request(f"$JS.API.{verb}", json.dumps(request).encode(), timeout=PATIENCE)
        answer: dict[str, Any] = json.loads(reply.data)
        if error := answer.get("error"):
            raise JetStreamRefusedError(verb, error.get("err_code", error["code"]), error.get("description", ""))
        return answer

    async def _ask_maybe(self, verb: str, request: Json) -> dict[str, Any] | None:
        try:
            return await self._ask(verb, request)
        except JetStreamRefusedError as refusal:
            if refusal.code in NOT_FOUND:
                return None
            raise


def epoch_of(config: Json) -> int:
    """The epoch that a stream carries in its metadata; 0 when it carries none."""
    metadata = config.get("metadata")
    value = metadata.get(EPOCH_KEY) if isinstance(metadata, dict) else None
    return int(value) if value else 0


def with_epoch(config: Json, epoch: int) -> Json:
    """A stream's configuration that carries its epoch."""
    return {**config, "metadata": {EPOCH_KEY: str(epoch)}}
