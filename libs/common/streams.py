"""What provisioning knows of a stream and the services need: its epoch, which counts how often it was made anew."""

from typing import Final

from libs.common.bus import Bus

EPOCH_KEY: Final = "rr.epoch"
"""Key in the stream's metadata."""


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
