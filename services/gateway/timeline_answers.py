"""What the answers about the log look like, for the description alone."""

from typing import Any

from services.gateway.answers import Answer


class Entry(Answer):
    """One event of the log. `time` is its producer's, `stored_at` the stream's, by which lists go.

    `payload` is null where it is not JSON, longer than a page, or redacted (then `payload_length` is null as well).
    """

    index: int
    event_id: str
    type: str
    actor: str
    time: str
    stored_at: str
    incident_id: str | None
    execution_id: str | None
    runbook_id: str | None
    payload: Any
    payload_length: int | None
    event_hash: str


class Entries(Answer):
    """Events in the order that was asked for; `next` is the `after` of the next page, which is empty at the end."""

    entries: list[Entry]
    next: int | None


class Witness(Answer):
    """Who has signed a checkpoint besides the log, and when, in Unix seconds."""

    name: str
    key_id: str
    time: int


class Cosigned(Answer):
    """The witnesses of a checkpoint; `new` counts those that were not known to have signed it."""

    size: int
    new: int
    witnesses: list[Witness]
