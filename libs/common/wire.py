"""Headers to bytes and back, a publish and a delivery: what the client does for every message, at a part of its cost.

Measured on a fact's fifteen headers: 61 µs against 5 to encode, 33 against 9 to decode, of the client's own; a fact is
published once and read by every consumer. What is not plain (a name that is not ours, a value with blanks at an end
or with line breaks) goes the client's own way, so that both give the same bytes and the same headers
(`tests/unit/common/test_wire.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from libs.common.contracts.envelope import HEADERS

_PLAIN: Final = frozenset((*HEADERS, "Rr-Reason", "Rr-Subject", "Nats-Expected-Stream"))
_BLANKS: Final = " \t\n\r\x0b\f"
_START: Final = "NATS/1.0\r\n"
_HEAD: Final = b"NATS/1.0\r\n"
_client_parses: Final = Client._parse_header_lines  # noqa: SLF001 — the plain way, and what ours is compared with


def encode(headers: Mapping[str, str]) -> bytes | None:
    """A message's header block; None where it takes the client's own care to write it."""
    if not headers.keys() <= _PLAIN:
        return None
    block = _START + "".join([f"{name}: {value}\r\n" for name, value in headers.items()]) + "\r\n"
    texts = "".join(headers.values())
    if not texts.isascii() or not texts.isprintable() or " \r" in block or ":  " in block:
        return None
    return block.encode()


def decode(raw: bytes) -> dict[str, str]:
    """The headers of a block without its first line."""
    if not raw.isascii():
        return parse(raw)
    found = {}
    for line in raw.decode().split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name in _PLAIN:
            found[name] = value.strip(_BLANKS)
        elif line:
            return _client_parses(raw)
    return found


def parse(raw: bytes) -> dict[str, str]:
    """The same, by the client's own rules, whatever it holds.

    Bytes that are no UTF-8 become lone surrogates, and so can be told from what somebody sent: the client puts U+FFFD.
    """
    found: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        key = name.strip()
        if colon and key.isascii() and not any(map(str.isspace, key.decode())):
            found[key.decode()] = value.strip().decode(errors="surrogateescape")
    return found


def quicken(client: Client) -> None:
    """Let a connection read headers with `decode`, and hand messages over at once where `deliver` says so."""
    client._parse_header_lines = decode  # type: ignore[method-assign]  # noqa: SLF001 — there is no public way
    _Delivery(client)


def deliver(client: Client, subscription: Subscription, take: Callable[[Msg], bool]) -> None:
    """Give `take` the messages of a subscription as they are read, without the client's queue and task between.

    What it answers False to goes the client's way, to the subscription's own callback, and so does everything on a
    connection that was not quickened. `take` must not raise.
    """
    process = client._process_msg  # noqa: SLF001 — as above
    if isinstance(process, _Delivery):
        process.takers[subscription._id] = take  # noqa: SLF001 — as above


class _Delivery:
    """Stands before the client's own way of processing a message."""

    def __init__(self, client: Client) -> None:
        self.takers: dict[int, Callable[[Msg], bool]] = {}
        self._client = client
        self._plain = client._process_msg  # noqa: SLF001 — as above
        client._process_msg = self  # type: ignore[method-assign]  # noqa: SLF001 — as above

    async def __call__(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """As the client's `_process_msg`."""
        take = self.takers.get(sid)
        if take is None:
            await self._plain(sid, subject, reply, data, headers)
            return
        client = self._client
        if sid not in client._subs:  # noqa: SLF001 — as above
            del self.takers[sid]
            return
        plain = not headers or headers.startswith(_HEAD)  # otherwise it begins with a status
        found = decode(headers[len(_HEAD) :]) if headers and plain else None
        if plain and take(Msg(client, subject.decode(), reply.decode(), data, found)):
            client.stats["in_msgs"] += 1
            client.stats["in_bytes"] += len(data)
        else:
            await self._plain(sid, subject, reply, data, headers)


async def publish(client: Client, subject: str, payload: bytes, *, reply: str, headers: Mapping[str, str]) -> None:
    """As the client's own `publish` does it.

    Raises:
        nats.errors.Error: the connection does not take it.
    """
    block = encode(headers)
    refused = not client.is_connected or client.is_draining_pubs or len(payload) > client.max_payload
    if block is None or refused or not _one_word(subject):
        await client.publish(subject, payload, reply=reply, headers=dict(headers))
        return
    size = len(block) + len(payload)
    command = f"HPUB {subject} {reply} {len(block)} {size}\r\n".encode()
    client.stats["out_msgs"] += 1
    client.stats["out_bytes"] += len(payload)
    await client._send_command(b"".join((command, block, payload, b"\r\n")))  # noqa: SLF001 — as above
    if client._flush_queue is not None and client._flush_queue.empty():  # noqa: SLF001 — as above
        await client._flush_pending()  # noqa: SLF001 — as above


async def publish_bare(client: Client, subjects: Sequence[str], payload: bytes) -> None:
    """The same payload, without headers, to each of the subjects: in one write.

    Raises:
        nats.errors.Error: the connection does not take it.
    """
    if not client.is_connected or client.is_draining_pubs or not all(map(_one_word, subjects)):
        for subject in subjects:
            await client.publish(subject, payload)
        return
    if not subjects:
        return
    tail = f"  {len(payload)}\r\n".encode() + payload + b"\r\n"
    client.stats["out_msgs"] += len(subjects)
    client.stats["out_bytes"] += len(payload) * len(subjects)
    commands = b"".join([b"PUB " + subject.encode() + tail for subject in subjects])
    await client._send_command(commands)  # noqa: SLF001 — as above
    if client._flush_queue is not None and client._flush_queue.empty():  # noqa: SLF001 — as above
        await client._flush_pending()  # noqa: SLF001 — as above


def _one_word(subject: str) -> bool:
    """Whether it is a single word of a command; at anything else the server would end the connection."""
    return bool(subject) and subject.isprintable() and " " not in subject
