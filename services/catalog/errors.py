"""Why the catalog refuses.

InvalidInput
└── RunbookRefused   the text is no runbook that this version accepts; `problems` says where and what to do
TooLarge
└── SpecTooLarge     the spec could not be handed on in one answer
Conflict
└── DraftChanged     the draft is not the one that was looked at any more
NotFound
├── NoSuchDraft      the runbook has no draft
└── NoSuchRunbook    there is none, or no such version, or the caller may not see it: the same answer
"""

from typing import Final

from libs.common.errors import Conflict, InvalidInput, NotFound, TooLarge
from libs.runbook.problems import RunbookInvalid

MAX_PROBLEMS: Final = 50


class RunbookRefused(InvalidInput):
    """The text is no runbook that this version accepts; nothing was stored."""

    def __init__(self, invalid: RunbookInvalid) -> None:
        first, count = invalid.problems[0], len(invalid.problems)
        super().__init__(
            f"The runbook has {count} problems; the first is {first}"
            if count > 1
            else f"The runbook is refused: {first}",
            fix="Change what `problems` lists, by line, and publish again.",
            code="runbook_invalid",
            problems=[problem.to_json() for problem in invalid.problems[:MAX_PROBLEMS]],
        )


class SpecTooLarge(TooLarge):
    """The spec as JSON is over the limit, though its text was not."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"The runbook is {size} bytes of JSON; the limit is {limit}.",
            fix="Split it into several runbooks.",
            code="spec_too_large",
        )


class DraftChanged(Conflict):
    """Someone saved another draft in between; nothing was published."""

    def __init__(self, runbook_id: str, found: str) -> None:
        super().__init__(
            f"The draft of {runbook_id} is not the one that was named any more.",
            fix="Look at the draft, and publish it with its own hash.",
            code="draft_changed",
            spec_hash=found,
        )


class NoSuchDraft(NotFound):
    """Published already, or never saved."""

    def __init__(self, runbook_id: str) -> None:
        super().__init__(f"Runbook {runbook_id} has no draft.", fix="Save one, or publish a text at once.")


class NoSuchRunbook(NotFound):
    """Missing or invisible."""

    def __init__(self, runbook_id: str, version: int | None = None) -> None:
        what = f"version {version} of runbook {runbook_id}" if version else f"runbook {runbook_id}"
        super().__init__(f"There is no {what}.", fix="`rangerctl runbook list` shows what there is.")
