"""Published versions, and the match between an incident and one of them: values without I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.contracts.incident import IncidentCreated
from libs.common.ids import derived_id
from libs.runbook.loader import Loaded
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts, best, fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A published version without its content; `version` counts from 1 within one runbook of one tenant.

    `author` wrote the draft; who published a text at once is both.
    """

    tenant: str
    runbook_id: str
    version: int
    spec_hash: str
    name: str
    risk: str
    mode: str
    tags: tuple[str, ...]
    author: str
    published_by: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """A published version: the spec as written (JSON) and the text that it came from."""

    header: Header
    spec: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftHeader:
    """A draft without its content: what would be published, and who wrote it so."""

    tenant: str
    runbook_id: str
    spec_hash: str
    name: str
    risk: str
    mode: str
    tags: tuple[str, ...]
    author: str
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft and its text."""

    header: DraftHeader
    source: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A runbook in a list: its latest version, its draft, or both."""

    published: Header | None
    draft: DraftHeader | None

    @property
    def runbook_id(self) -> str:
        """Of whichever there is."""
        return next(found.runbook_id for found in (self.published, self.draft) if found is not None)


@dataclass(frozen=True, slots=True)
class Triggered:
    """The latest version of a runbook that has triggers, parsed."""

    tenant: str
    version: int
    spec_hash: str
    spec: Runbook


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One incident and the runbook that fits it best. The id is derived from both, so it is the same each time."""

    match_id: str
    tenant: str
    incident_id: str
    runbook_id: str
    version: int
    spec_hash: str
    conditions: int
    exact: int


def draft_of(loaded: Loaded, *, tenant: str, author: str, now: datetime) -> Draft:
    """The draft that saving `loaded` makes."""
    spec = loaded.spec
    header = DraftHeader(
        tenant=tenant,
        runbook_id=spec.id,
        spec_hash=loaded.spec_hash,
        name=spec.name,
        risk=spec.risk,
        mode=spec.mode,
        tags=spec.tags,
        author=author,
        saved_at=now,
    )
    return Draft(header, loaded.source)


def version_of(loaded: Loaded, *, tenant: str, number: int, author: str, actor: str, now: datetime) -> Published:
    """The version that publishing `loaded` makes."""
    spec = loaded.spec
    header = Header(
        tenant=tenant,
        runbook_id=spec.id,
        version=number,
        spec_hash=loaded.spec_hash,
        name=spec.name,
        risk=spec.risk,
        mode=spec.mode,
        tags=spec.tags,
        author=author,
        published_by=actor,
        published_at=now,
    )
    return Published(header, loaded.spec_json, loaded.source)


def match_id_of(incident_id: str, runbook_id: str) -> str:
    """UUIDv5 of incident and runbook."""
    return derived_id("match", incident_id, runbook_id)


def match_of(tenant: str, created: IncidentCreated, candidates: Iterable[Triggered]) -> Match | None:
    """The best of these runbooks, the tenant's own, for this incident; None if none fits or the alert does not fire.

    Most conditions first, then most conditions on a single value, then the id that sorts first.
    """
    if not created.firing:
        return None
    alert = AlertFacts(created.alert_name, created.severity, created.labels, created.annotations)
    own = {candidate.spec.id: candidate for candidate in candidates}
    spec = best((candidate.spec for candidate in own.values()), alert)
    score = fit(spec, alert) if spec is not None else None
    if spec is None or score is None:
        return None
    found = own[spec.id]
    return Match(
        match_id=match_id_of(created.incident_id, spec.id),
        tenant=tenant,
        incident_id=created.incident_id,
        runbook_id=spec.id,
        version=found.version,
        spec_hash=found.spec_hash,
        conditions=score[0],
        exact=score[1],
    )
