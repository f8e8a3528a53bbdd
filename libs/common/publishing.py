"""A message for JetStream, and what became of it: stored, or refused and why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
from msgspec import Struct
from nats.aio.msg import Msg


class Outgoing(Struct, frozen=True):
    """A message for JetStream; `headers` hold its `Nats-Msg-Id`, so that a repeated publish is dropped."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class Stored(Struct, frozen=True):
    """JetStream's acknowledgement: where the message stands. `duplicate` means that it stood there before."""

    stream: str
    seq: int
    duplicate: bool


class PublishRefused(Exception):
    """JetStream answered no, or not in time; in the latter case the message may be stored all the same."""


@dataclass(slots=True)
class Sent:
    """A message whose acknowledgement is awaited."""

    subject: str
    answer: asyncio.Future[bytes | PublishRefused]

    def refuse(self, why: str) -> None:
        """Unless it has been answered."""
        if not self.answer.done():
            self.answer.set_result(PublishRefused(why))


def no_responders(message: Msg) -> bool:
    """Whether this is the server's word that nobody takes the subject."""
    return (message.headers or {}).get("Status") == "503"


def outcome(future: asyncio.Future[bytes | PublishRefused], seconds: float) -> Stored | PublishRefused:
    """What became of a message, at the end of its time."""
    if not future.done():
        future.cancel()
        return PublishRefused(f"no acknowledgement within {seconds} s")
    answer = future.result()
    if isinstance(answer, PublishRefused):
        return answer
    if not answer:
        return PublishRefused("no stream takes this subject: run `rangerctl provision`")
    reply = orjson.loads(answer)
    if "error" in reply:
        return PublishRefused(f"{reply['error'].get('err_code')}: {reply['error'].get('description')}")
    return Stored(stream=reply["stream"], seq=reply["seq"], duplicate=bool(reply.get("duplicate")))
