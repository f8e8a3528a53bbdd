"""The choreography as a page for people: `python -m libs.common.contracts.page > docs/choreography.md`."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from libs.common.contracts.choreography import ASKS, DLQ, EVENTS, INGRESS, INTAKES, NOTES, ROWS, STREAMS, consumers

_INTRODUCTION: Final = """# Who says what to whom

Rendered from `libs/common/contracts/choreography.py`, which is what runs: publishing a fact that has no row there
raises, provisioning makes JetStream's consumers from it, and tests compare it with the server's own. After a change:
`python -m libs.common.contracts.page > docs/choreography.md`."""

_FACTS: Final = f"""## Facts, on {EVENTS}

What happened, in the past tense. The subject is the fact's type; version, ids, time, actor, tenant, correlation and
causation are CloudEvents attributes in the headers. The timeline hears everything here and is not repeated below."""

_INTAKES: Final = f"""## What outsiders post, on {INGRESS}

Not yet facts: the incident service deduplicates them and publishes the facts."""

_ASKS: Final = """## Questions and commands

Request and reply on `rpc.<service>.<verb>`, each service in a queue group of its name."""

_NOTES: Final = """## Notes

Words on core NATS that may be lost without harm."""

_CONSUMERS: Final = f"""## Durable consumers

One a service and stream, named after the service. A message that a service cannot apply becomes a dead letter in the
service's own schema, with a copy on {DLQ}."""


_PERMISSIONS: Final = """## Held to it

The bus's server takes from each process what these tables give to it and nothing else: each signs in with a key of its
own, and its permissions are rendered from here into `runbook_ranger/stack/servers/permissions.conf`
(`python -m libs.common.contracts.permissions`, [decision 0025](decisions/0025-the-bus-knows-who-speaks.md)). Whoever
publishes another's fact, takes from another's consumer, answers or asks where it may not, or listens on another's inbox
is refused, and hears so at once."""


def render() -> str:
    """The whole page, Markdown, ending in a newline."""
    parts = [
        _INTRODUCTION,
        _FACTS,
        _table(
            ("fact", "about", "published by", "acted on by", "why"),
            ((f"`{r.subject}`", r.fact.aggregate, r.publisher, _names(r.consumers), r.why) for r in ROWS),
        ),
        _INTAKES,
        _table(
            ("subject", "acted on by", "what"),
            ((f"`{intake.subject}`", _names(intake.consumers), intake.why) for intake in INTAKES),
        ),
        _CONSUMERS,
        _table(
            ("stream", "durable", "subjects"),
            ((stream, name, _codes(subjects)) for (stream, name), subjects in sorted(consumers().items())),
        ),
        _ASKS,
        _table(
            ("who asks", "whom", "what", "why"),
            ((ask.asker, ask.asked, _verbs(ask.verbs), ask.why) for ask in ASKS),
        ),
        _NOTES,
        _table(
            ("subject", "said by", "heard by", "why"),
            ((f"`{note.subject}`", note.sender, _names(note.listeners), note.why) for note in NOTES),
        ),
        _PERMISSIONS,
        "## Streams",
        _table(("stream", "subjects"), ((name, _codes(subjects)) for name, subjects in STREAMS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nobody"


def _verbs(verbs: Sequence[str]) -> str:
    return "everything" if "*" in verbs else _codes(verbs)


def _codes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(render())
