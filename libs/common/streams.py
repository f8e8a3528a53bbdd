"""What a stream says of itself: its epoch, which counts how often it was made anew, and what it holds where."""

from collections.abc import Mapping
from typing import Any, Final

import nats.errors
import orjson
from nats.js.errors import APIError

from libs.common.bus import Bus

EPOCH_KEY: Final = "rr.epoch"
"""Key in the stream's metadata."""
_TIMEOUT_SECONDS: Final = 5.0
_NO_MESSAGE: Final = 10037  # JetStream's error code for a sequence that is not there


async def stored_message(bus: Bus, stream: str, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """JetStream's record of one message (`hdrs` and `data` in base64); None when the leader says that there is none.

    The leader is asked, since a replica may lag. `wanted` is `{"seq": n}`, or with `"next_by_subj"` the first from n.

    Raises:
        ConnectionError: the stream cannot be read, or is not there.
    """
    subject = f"$JS.API.STREAM.MSG.GET.{stream}"
    try:
        answer = await bus.nc.request(subject, orjson.dumps(wanted), timeout=_TIMEOUT_SECONDS)
    except nats.errors.Error as error:
        raise ConnectionError(f"{stream} cannot be read: {type(error).__name__}: {error}") from error
    reply = orjson.loads(answer.data)
    if "error" in reply:
        if reply["error"].get("err_code") == _NO_MESSAGE:
            return None
        raise ConnectionError(f"{stream} cannot be read: {reply['error'].get('description')}")
    message: dict[str, Any] = reply["message"]
    return message


async def described(bus: Bus, what: str) -> dict[str, Any]:
    """What JetStream says of a stream or consumer (`STREAM.INFO.<stream>`, `CONSUMER.INFO.<stream>.<durable>`), as it
    says it: the client makes values of all of it, which costs more than the question.

    Raises:
        NotFoundError: it is not there.
        nats.errors.Error: no answer.
    """
    answer = orjson.loads((await bus.nc.request(f"$JS.API.{what}", timeout=_TIMEOUT_SECONDS)).data)
    if "error" in answer:
        APIError.from_error(answer["error"])
    said: dict[str, Any] = answer
    return said


class Epochs:
    """Epochs of the streams, read once a connection: a stream is made anew only while everything stands still."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, int] = {}
        bus.on_reconnect(self._forget)

    async def of(self, stream: str) -> int:
        """The epoch of `stream`, at least 1.

        Raises:
            NotFoundError: there is no such stream; run provisioning.
        """
        if stream not in self._known:
            info = await self._bus.js.stream_info(stream)
            self._known[stream] = int((info.config.metadata or {}).get(EPOCH_KEY, "1"))
        return self._known[stream]

    async def _forget(self) -> None:
        self._known.clear()
