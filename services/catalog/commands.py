"""What can be asked of the catalog."""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from libs.common.clock import rfc3339
from libs.common.rpc import Question
from libs.runbook.elements import SLUG
from services.catalog.model import Header

MAX_PAGE: Final = 200

RunbookId = Annotated[str, StringConstraints(pattern=SLUG)]


class Publish(Question):
    """Make a runbook public: YAML, UTF-8, at most 256 KiB (the loader says so with its own words)."""

    source: str


class Lint(Question):
    """Say what publishing this text would say, and store nothing."""

    source: str


class GetVersion(Question):
    """One version, the latest by default; the text that was published comes along when asked for."""

    runbook_id: RunbookId
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    include_source: bool = False


class ListRunbooks(Question):
    """The latest version of each runbook, in the order of ids, after one of them."""

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
        "published_by": header.published_by,
        "published_at": rfc3339(header.published_at),
    }
