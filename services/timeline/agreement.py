"""Whether the stream is still the one that the log chained. Where it is not, nothing may be appended.

JetStream can lose acknowledged messages, be restored to an older state, or be made anew under the same name. Only the
last is announced, by a raised epoch; everything else would silently give old sequences new content.
"""

import orjson

from libs.common.database import Database
from libs.tlog.chain import Control, Message
from libs.tlog.errors import LeafError
from libs.tlog.leaf import commit, stream_reset
from libs.tlog.shape import EVENT, GAP, Leaf
from services.timeline import storage
from services.timeline.errors import Frozen
from services.timeline.intake import arrival, stamp
from services.timeline.model import LogState, Received
from services.timeline.stream import EventStream, Extent


async def agree(database: Database, stream: EventStream, extent: Extent, state: LogState) -> Control | None:
    """None when the log goes on where it stands; the stream_reset to append when the stream was made anew.

    Raises:
        Frozen: stream and log contradict each other.
    """
    if extent.epoch < state.epoch:
        raise Frozen(
            f"{state.stream} is at epoch {extent.epoch}, the log has chained epoch {state.epoch}: "
            "the stream is an older one; restore it or raise its epoch"
        )
    if extent.epoch > state.epoch:
        return Control(stream_reset(state.stream, extent.epoch, was=state.epoch, last=state.seq))
    if extent.last < state.seq:
        raise Frozen(
            f"{state.stream} ends at sequence {extent.last}, the log has chained {state.seq}: "
            "the stream lost messages; make it anew with `rangerctl provision --renew EVENTS`"
        )
    if state.seq:
        await _same_at_cursor(database, stream, state)
    return None


async def _same_at_cursor(database: Database, stream: EventStream, state: LogState) -> None:
    message = await stream.get(state.seq)
    if message is None:
        return  # gone with the stream's retention, or absent when it was chained
    raw = await storage.leaf_at(database, state.stream, state.epoch, state.seq)
    if raw is None:
        raise Frozen(f"the log's state is at sequence {state.seq}, for which it has no leaf")
    difference = _difference(orjson.loads(raw), message, state)
    if difference:
        raise Frozen(
            f"{state.stream} sequence {state.seq} is not what the log chained ({difference}): "
            "the stream was replaced under its name; make it anew with `rangerctl provision --renew EVENTS`"
        )


def _difference(leaf: Leaf, message: Received, state: LogState) -> str:
    if leaf["kind"] == GAP:
        return "it was absent"
    if leaf["src"]["ts"] != stamp(message.ts_ns):
        return "other stored time"
    item = arrival(message, stream=state.stream, epoch=state.epoch).item
    if leaf["kind"] != EVENT:
        return ""
    if not isinstance(item, Message) or item.event.id != leaf["ev"]["id"]:
        return "other event"
    try:
        same = commit(item.payload, item.salt).hex() == leaf["payload"]["commit"]
    except LeafError:
        same = False
    return "" if same else "other payload"
