"""The choreography as a page for people: `python -m libs.common.contracts.page > docs/choreography.md`."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from libs.common.contracts.choreography import DLQ, EVENTS, INGRESS, INTAKES, ROWS, STREAMS, consumers

_INTRODUCTION: Final = """# Who says what to whom

Rendered from `libs/common/contracts/choreography.py`, which is what runs: publishing a fact that has no row there
raises, provisioning makes JetStream's consumers from it, and tests compare it with the server's own. After a change:
`python -m libs.common.contracts.page > docs/choreography.md`."""

_FACTS: Final = f"""## Facts, on {EVENTS}

What happened, in the past tense. The subject is the fact's type; version, ids, time, actor, tenant, correlation and
causation are CloudEvents attributes in the headers. The timeline hears everything here and is not repeated below."""

_INTAKES: Final = f"""## What outsiders post, on {INGRESS}

Not yet facts: the incident service deduplicates them and publishes the facts."""

_CONSUMERS: Final = f"""## Durable consumers

One a service and stream, named after the service. A message that a service cannot apply becomes a dead letter in the
service's own schema, with a copy on {DLQ}."""


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
        "## Streams",
        _table(("stream", "subjects"), ((name, _codes(subjects)) for name, subjects in STREAMS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nobody"


def _codes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(render())
