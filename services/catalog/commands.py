"""What can be asked of the catalog."""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, model_validator

from libs.common.clock import rfc3339
from libs.common.rpc import Question
from libs.runbook.elements import SLUG
from services.catalog.model import DraftHeader, Header, Listed

MAX_PAGE: Final = 200

RunbookId = Annotated[str, StringConstraints(pattern=SLUG)]


class Publish(Question):
    """Make a runbook public: this text (YAML, UTF-8, at most 256 KiB), or the stored draft of this runbook.

    `spec_hash` is the draft that was looked at: another one is not published in its place.
    """

    source: str | None = None
    runbook_id: RunbookId | None = None
    spec_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Publish":
        if (self.source is None) == (self.runbook_id is None):
            raise ValueError("either the source or the runbook_id of a draft")
        if self.spec_hash is not None and self.runbook_id is None:
            raise ValueError("spec_hash goes with a runbook_id")
        return self


class SaveDraft(Question):
    """Store this text as the draft of the runbook that it names, over an earlier one."""

    source: str


class GetDraft(Question):
    """The draft of a runbook, with its text."""

    runbook_id: RunbookId


class Lint(Question):
    """Say what publishing this text would say, and store nothing."""

    source: str


class GetVersion(Question):
    """One version, the latest by default; the text that was published comes along when asked for."""

    runbook_id: RunbookId
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    include_source: bool = False


class ListRunbooks(Question):
    """The latest version and the draft of each runbook, in the order of ids, after one of them."""

    after: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{0,64}$")] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


def described(header: Header) -> dict[str, Any]:
    """A version without its content, as answers show it."""
    return {
        "runbook_id": header.runbook_id,
        "version": header.version,
        "spec_hash": header.spec_hash,
        "name": header.name,
        "risk": header.risk,
        "mode": header.mode,
        "tags": list(header.tags),
        "author": header.author,
        "published_by": header.published_by,
        "published_at": rfc3339(header.published_at),
    }


def drafted(header: DraftHeader) -> dict[str, Any]:
    """A draft without its content, as answers show it."""
    return {
        "runbook_id": header.runbook_id,
        "spec_hash": header.spec_hash,
        "name": header.name,
        "risk": header.risk,
        "mode": header.mode,
        "tags": list(header.tags),
        "author": header.author,
        "saved_at": rfc3339(header.saved_at),
    }


def listed(item: Listed) -> dict[str, Any]:
    """A runbook in a list: its latest version, or its draft where nothing is published yet, and its draft beside it.

    `status` is `published` or `draft`; what only a version has is null where there is none.
    """
    draft = None if item.draft is None else drafted(item.draft)
    if item.published is not None:
        return {**described(item.published), "status": "published", "draft": draft}
    shown = {key: value for key, value in (draft or {}).items() if key != "saved_at"}
    return {**shown, "version": None, "published_by": None, "published_at": None, "status": "draft", "draft": draft}
