"""Whether a consumer is through with its stream.

A server counts what is pending for a consumer a moment after it has stored a message, so right after a publish the
count alone says nothing; the stream is asked for the newest message that the consumer is to have.
"""

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError


async def consumed(manager: JetStreamContext, stream: str, durable: str) -> bool:
    """Whether a durable was given all that its stream holds for it, and has acknowledged it."""
    info = await manager.consumer_info(stream, durable)
    if info.num_pending or info.num_ack_pending:
        return False
    delivered = info.delivered.stream_seq if info.delivered else 0
    for subject in info.config.filter_subjects or [info.config.filter_subject or ">"]:
        try:
            last = await manager.get_last_msg(stream, subject)
        except NotFoundError:
            continue
        if (last.seq or 0) > delivered:
            return False
    return True
