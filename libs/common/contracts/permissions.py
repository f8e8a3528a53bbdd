"""What each process may say and hear on the bus, from the choreography; the server holds everybody to it.

Pure. `render` writes it as part of a NATS server's configuration, which is committed beside the servers that read it:
`python -m libs.common.contracts.permissions > runbook_ranger/stack/servers/permissions.conf`.

Nobody but provisioning makes, changes or deletes a stream or a consumer; nobody reads another's answers, since each
process has an inbox of its own name. Who answers may write to the inboxes of those who may ask it: with the server's
own way, `allow_responses`, whoever asks could have the answer published as somebody's fact (docs/decisions/0025).
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.contracts.choreography import (
    ADMIN,
    ASKS,
    EVENTS,
    IDENTITIES,
    INTAKES,
    NOTES,
    ROWS,
    SERVICES,
    STREAMS,
    consumers,
)

LOG: Final = "timeline"
"""Chains the stream itself: it reads all of it, keeps no outbox and sets nothing aside."""
TAIL: Final = "gateway"
"""Shows the stream of facts to people as it grows, and takes in what outsiders post."""
API: Final = "$JS.API"

_HEAD: Final = """\
# Who may say and hear what on the bus. Rendered from libs/common/contracts/choreography.py, to be included in a block
# `authorization`, where a user says `permissions: $incident`. After a change of that table:
# `python -m libs.common.contracts.permissions > runbook_ranger/stack/servers/permissions.conf`.
"""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects, sorted; everything else is denied. A subscription `subject queue` is allowed in that queue only."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox(identity: str) -> str:
    """The prefix of the subjects on which one process, and nobody else, hears its answers."""
    return f"_INBOX_{identity}"


def permissions() -> Mapping[str, Permissions]:
    """What each identity may do."""
    return {name: Permissions(_sorted(_publish(name)), _sorted(_subscribe(name))) for name in IDENTITIES}


def render() -> str:
    """All of it in the server's notation, where JSON's lists and strings are valid."""
    blocks = (
        f"{name}: {{\n  publish: {{ allow: {_listed(granted.publish)} }}\n"
        f"  subscribe: {{ allow: {_listed(granted.subscribe)} }}\n}}\n"
        for name, granted in permissions().items()
    )
    return "\n".join([_HEAD, *blocks])


def _publish(name: str) -> Iterable[str]:
    yield f"{inbox(name)}.>"  # a word to itself, to know that what it sent before has arrived
    yield from (f"rpc.{ask.asked}.{verb}" for ask in ASKS if ask.asker == name for verb in ask.verbs)
    yield from (f"{inbox(ask.asker)}.>" for ask in ASKS if ask.asked == name)
    yield from (note.subject for note in NOTES if note.sender == name)
    yield from (row.subject for row in ROWS if row.publisher == name)
    for stream, durable in consumers():
        if durable == name:
            yield from _pull(stream, durable)
    if name in SERVICES:
        yield from (f"{inbox(ADMIN)}.>", f"{API}.STREAM.INFO.{EVENTS}", f"{API}.STREAM.MSG.GET.{EVENTS}")
    if name == TAIL:
        yield f"{API}.DIRECT.GET.{EVENTS}"
        yield from (intake.subject for intake in INTAKES)


def _pull(stream: str, durable: str) -> Iterable[str]:
    """Take from one durable, acknowledge, look whether it is there, and set aside what cannot be applied."""
    yield f"{API}.CONSUMER.MSG.NEXT.{stream}.{durable}"
    yield f"{API}.CONSUMER.INFO.{stream}.{durable}"
    yield f"{API}.STREAM.INFO.{stream}"
    yield f"$JS.ACK.{stream}.{durable}.>"
    if durable != LOG:
        yield f"dlq.{durable}:{stream}"


def _subscribe(name: str) -> Iterable[str]:
    yield f"{inbox(name)}.>"
    yield from (note.subject for note in NOTES if name in note.listeners)
    if name in SERVICES:
        yield f"rpc.{name}.* {name}"
    if name == TAIL:
        yield from STREAMS[EVENTS]


def _sorted(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(subjects)))


def _listed(subjects: Iterable[str]) -> str:
    return "[\n" + ",\n".join(f"    {json.dumps(subject)}" for subject in subjects) + "\n  ]"


if __name__ == "__main__":
    sys.stdout.write(render())
