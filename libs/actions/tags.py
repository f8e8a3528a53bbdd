"""A target's tags, read from the target itself right before a mutation: no tag, no mutation."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from libs.actions.egress import Egress, Reply
from libs.actions.errors import EgressFailed, EgressRefused

REQUIRED_TAG = "allow-remediation"
REQUIRED_VALUE = "true"
TAGS_LIMIT = 16 * 1024
TAG_COUNT = 64
TAG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TagCheck:
    """Whether a target may be changed; a refusal has a stable `code` and a `message` for people."""

    allowed: bool
    code: str = "ok"
    message: str = ""
    tags: dict[str, str] = field(default_factory=dict)


async def check_tags(egress: Egress, url: str, *, timeout: float = TAG_SECONDS) -> TagCheck:
    """Read the tags at `url` (a JSON object of strings, or `{"tags": {…}}`) and require allow-remediation: "true".

    Never raises for what the target does: unreachable, slow, redirecting, too large and malformed are refusals.
    """
    try:
        reply = await egress.request(
            "GET", url, timeout=timeout, headers={"Accept": "application/json"}, limit=TAGS_LIMIT
        )
    except EgressRefused as error:
        return TagCheck(allowed=False, code=error.code, message=f"the target's tags cannot be read: {error}")
    except EgressFailed as error:
        return TagCheck(allowed=False, code="tags_unreachable", message=f"the target's tags cannot be read: {error}")
    return judge_tags(reply)


def judge_tags(reply: Reply) -> TagCheck:
    """The verdict on one answer."""
    if reply.status != 200:
        return TagCheck(allowed=False, code="tags_status", message=f"reading the target's tags answered {reply.status}")
    tags = None if reply.truncated else _tags(reply.body)
    if tags is None:
        return TagCheck(
            allowed=False, code="tags_malformed", message=f"the target's tags are not at most {TAG_COUNT} short strings"
        )
    value = tags.get(REQUIRED_TAG)
    if value != REQUIRED_VALUE:
        found = "is missing" if value is None else f"is {value[:40]!r}"
        message = f'the target must carry the tag {REQUIRED_TAG}: "true"; it {found}'
        return TagCheck(allowed=False, code="tag_not_allowed", message=message, tags=tags)
    return TagCheck(allowed=True, tags=tags)


def _tags(body: bytes) -> dict[str, str] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(document, dict) and isinstance(document.get("tags"), dict):
        document = document["tags"]
    if not isinstance(document, dict) or len(document) > TAG_COUNT:
        return None
    if not all(isinstance(value, str) and len(name) <= 128 and len(value) <= 256 for name, value in document.items()):
        return None
    return document
