"""What the timeline's parts hand to each other."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from libs.common.contracts.envelope import Envelope
from libs.tlog.chain import Batch, Control, Item, Message, Missing, Unreadable
from libs.tlog.tree import Frontier


class Received(Struct, frozen=True):
    """A message as the stream holds it, whichever way it came. `ts_ns` is its stored time, Unix nanoseconds."""

    seq: int
    subject: str
    ts_ns: int
    headers: Mapping[str, str]
    payload: bytes


class Hole(Struct, frozen=True):
    """Sequences first..last that the stream does not hold, as far as a hole goes."""

    first: int
    last: int


class Arrival(Struct, frozen=True):
    """An item to be chained, and what it came from: the envelope of a message, or a row of `control`.

    `bare`: the payload was redacted since; only a log that is rebuilt has such arrivals.
    """

    item: Item
    envelope: Envelope | None = None
    control: int | None = None
    bare: bool = False


class LogState(Struct, frozen=True):
    """The log as one row: whose, how large, by which writer, and up to which stream sequence."""

    origin: str
    term: int
    stream: str
    epoch: int
    seq: int
    tree: Frontier

    def after(self, batch: Batch) -> "LogState":
        """The state once `batch` stands in the log."""
        tree, epoch, seq = self.tree.copy(), self.epoch, self.seq
        for entry in batch.entries:
            tree.append(entry.event_hash)
            match entry.item:
                case Message() | Unreadable():
                    seq = entry.item.src.seq
                case Missing():
                    seq = entry.item.last
                case Control() if entry.item.body["type"] == "stream_reset":
                    epoch, seq = int(entry.item.body["epoch"]), 0
                case Control():
                    pass
        return replace(self, tree=tree, epoch=epoch, seq=seq)
