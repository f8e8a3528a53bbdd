"""What the catalog does: keep drafts, publish versions, find them, match incidents."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from libs.common.contracts.incident import IncidentCreated
from libs.common.policy import Decision, Principal, Resource, require
from libs.common.rpc import Caller
from libs.runbook.loader import Loaded, load
from libs.runbook.problems import RunbookInvalid
from services.catalog.errors import DraftChanged, NoSuchDraft, NoSuchRunbook, RunbookRefused, SpecTooLarge
from services.catalog.model import (
    Draft,
    DraftHeader,
    Header,
    Listed,
    Match,
    Published,
    Triggered,
    draft_of,
    match_of,
    version_of,
)
from services.catalog.ports import Catalog

MAX_SPEC_BYTES: Final = 384 * 1024
"""Of JSON: a version goes out in one answer, which stays under 512 KiB."""
ANY: Final = "*"
SYSTEM: Final = Principal.system("catalog")


@dataclass(frozen=True, slots=True)
class Publication:
    """What publishing led to; without a `version`, this content was the latest one already.

    `decision` is what policy said to it.
    """

    header: Header
    decision: Decision
    version: Published | None = None

    @property
    def created(self) -> bool:
        """Whether there is a new version."""
        return self.version is not None


@dataclass(frozen=True, slots=True)
class Occasion:
    """An incident's creation, and whose it is."""

    tenant: str
    created: IncidentCreated


async def publish(catalog: Catalog, caller: Caller, source: str, *, now: datetime, author: str = "") -> Publication:
    """Publish the text as the next version of the runbook that it names, unless it is the latest one already.

    `author` wrote it; the caller, when empty.

    Raises:
        RunbookRefused, SpecTooLarge: the text cannot be published.
        Denied: the caller may not publish in this tenant, or not this runbook.
    """
    loaded = await checked(caller, source, "runbook.publish")
    spec = loaded.spec
    resource = Resource("runbook", spec.id, caller.tenant, spec.risk)
    decision = await require(caller.principal, "runbook.publish", resource)
    latest = await catalog.lock(caller.tenant, spec.id)
    if latest is not None and latest.spec_hash == loaded.spec_hash:
        return Publication(latest, decision)
    number, actor = latest.version + 1 if latest is not None else 1, caller.principal.actor
    version = version_of(loaded, tenant=caller.tenant, number=number, author=author or actor, actor=actor, now=now)
    await catalog.add(version, triggered=bool(spec.triggers))
    return Publication(version.header, decision, version)


async def publish_draft(
    catalog: Catalog, caller: Caller, runbook_id: str, spec_hash: str | None, *, now: datetime
) -> Publication:
    """Publish the stored draft, as `publish` would its text; there is no draft afterwards.

    Raises:
        NoSuchDraft: there is none.
        DraftChanged: its hash is not `spec_hash`, the one that was looked at.
        RunbookRefused, SpecTooLarge, Denied: as `publish`; what was acceptable when it was saved may not be any more.
    """
    await require(caller.principal, "runbook.publish", Resource("runbook", runbook_id, caller.tenant))
    draft = await catalog.draft(caller.tenant, runbook_id, hold=True)
    if draft is None:
        raise NoSuchDraft(runbook_id)
    if spec_hash is not None and spec_hash != draft.header.spec_hash:
        raise DraftChanged(runbook_id, draft.header.spec_hash)
    done = await publish(catalog, caller, draft.source, now=now, author=draft.header.author)
    await catalog.drop_draft(caller.tenant, runbook_id)
    return done


async def save_draft(catalog: Catalog, caller: Caller, source: str, *, now: datetime) -> DraftHeader:
    """Keep the text as the draft of the runbook that it names; only what could be published is kept.

    Raises:
        RunbookRefused, SpecTooLarge: the text could not be published.
        Denied: the caller may not write drafts in this tenant.
    """
    loaded = await checked(caller, source, "runbook.draft")
    draft = draft_of(loaded, tenant=caller.tenant, author=caller.principal.actor, now=now)
    await catalog.save_draft(draft)
    return draft.header


async def find_draft(catalog: Catalog, caller: Caller, runbook_id: str) -> Draft:
    """The draft of a runbook.

    Raises:
        NoSuchDraft, Denied.
    """
    await require(caller.principal, "runbook.view", Resource("runbook", runbook_id, caller.tenant))
    found = await catalog.draft(caller.tenant, runbook_id)
    if found is None:
        raise NoSuchDraft(runbook_id)
    return found


async def checked(caller: Caller, source: str, action: str) -> Loaded:
    """The runbook in the text, read on a thread so that a large one keeps nobody waiting.

    Raises:
        Denied: the caller may do `action` to nothing in this tenant; the text was not looked at.
        RunbookRefused, SpecTooLarge: it cannot be published.
    """
    await require(caller.principal, action, Resource("runbook", ANY, caller.tenant))
    try:
        loaded = await asyncio.to_thread(load, source)
    except RunbookInvalid as invalid:
        raise RunbookRefused(invalid) from None
    size = len(orjson.dumps(loaded.spec_json))
    if size > MAX_SPEC_BYTES:
        raise SpecTooLarge(size, MAX_SPEC_BYTES)
    return loaded


async def find(catalog: Catalog, caller: Caller, runbook_id: str, version: int | None) -> Published:
    """One version.

    Raises:
        NoSuchRunbook, Denied.
    """
    await require(caller.principal, "runbook.view", Resource("runbook", runbook_id, caller.tenant))
    found = await catalog.find(caller.tenant, runbook_id, version)
    if found is None:
        raise NoSuchRunbook(runbook_id, version)
    return found


async def page(catalog: Catalog, caller: Caller, *, after: str, limit: int) -> Sequence[Listed]:
    """Latest versions and drafts, in the order of ids.

    Raises:
        Denied: the caller may not see this tenant's runbooks.
    """
    await require(caller.principal, "runbook.view", Resource("runbook", ANY, caller.tenant))
    return await catalog.page(caller.tenant, after, limit)


async def match(catalog: Catalog, occasions: Sequence[Occasion]) -> Mapping[str, Match]:
    """Match each incident with the runbook that fits it best; new matches by incident id.

    An incident that was matched before is left alone, whatever has been published since.
    """
    for occasion in occasions:
        await require(SYSTEM, "runbook.match", Resource("runbook", ANY, occasion.tenant))
    candidates: dict[str, list[Triggered]] = {occasion.tenant: [] for occasion in occasions}
    for candidate in await catalog.triggered(candidates):
        candidates[candidate.tenant].append(candidate)
    found = [match_of(occasion.tenant, occasion.created, candidates[occasion.tenant]) for occasion in occasions]
    matches = [item for item in found if item is not None]
    stored = await catalog.claim(matches)
    return {item.incident_id: item for item in matches if item.match_id in stored}


def answer_of(version: Published, *, include_source: bool) -> dict[str, Any]:
    """A version's content, as answers show it."""
    return {"spec": dict(version.spec), **({"source": version.source} if include_source else {})}
