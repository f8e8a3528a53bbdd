"""What answers about evidence look like, for the description alone."""

from services.gateway.answers import Answer


class Artefact(Answer):
    """An object that an event names by its SHA-256: `index` and `type` are the event's, `kind` and `length` its own.

    `deleted_at` says when its retention ended, where it has.
    """

    sha256: str
    kind: str
    length: int
    index: int
    type: str
    time: str
    incident_id: str | None
    execution_id: str | None
    deleted_at: str | None


class Artefacts(Answer):
    """Artefacts in the log's order; `next` is the `after` of the next page, which is empty at the end."""

    artefacts: list[Artefact]
    next: int | None


class EvidenceUrl(Answer):
    """A URL that reads an artefact until `expires_at`: a path at this gateway, or a whole URL of the object store."""

    url: str
    expires_at: str
    sha256: str
    kind: str
    length: int
    filename: str


class Bundle(EvidenceUrl):
    """An incident's evidence bundle, and the URL that reads it: a zip (`rr.bundle/1`) that is verified offline.

    `envelope` is the SHA-256 of its `bundle.dsse.json`, which the log names in a `bundle_sealed` leaf; `size` is that
    of the checkpoint in it, `index` the newest event in it, `leaves` how many leaves it proves, `absent` how many
    objects it names and does not hold. `vkeys` are the deployment's word for its keys: the log's, then what sealed it.
    """

    incident_id: str
    envelope: str
    size: int
    index: int
    leaves: int
    absent: int
    vkeys: list[str]


class Redacted(Answer):
    """What is deleted: the event at `index`. `new` is false where somebody had it redacted before."""

    index: int
    event_id: str
    type: str
    incident_id: str | None
    execution_id: str | None
    new: bool


class Held(Answer):
    """What the log was told: whether an incident's evidence is held from now on."""

    hold_id: str
    incident_id: str
    held: bool
    told_at: str
