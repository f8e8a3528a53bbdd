"""No tag, no mutation."""

from typing import Any

import orjson
import pytest

from libs.actions.egress import Reply
from libs.actions.tags import judge_tags


def reply(body: Any, status: int = 200, *, truncated: bool = False) -> Reply:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(status, (), raw, truncated, len(raw), "", 1.0)


@pytest.mark.parametrize("body", [{"allow-remediation": "true", "team": "x"}, {"tags": {"allow-remediation": "true"}}])
def test_the_tag_allows(body: Any) -> None:
    check = judge_tags(reply(body))

    assert check.allowed
    assert check.tags["allow-remediation"] == "true"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "tag_not_allowed"),
        ({"allow-remediation": "false"}, "tag_not_allowed"),
        ({"allow-remediation": "True"}, "tag_not_allowed"),
        ({"allow-remediation": "yes"}, "tag_not_allowed"),
        ({"Allow-Remediation": "true"}, "tag_not_allowed"),
        ({"allow-remediation": True}, "tags_malformed"),
        ({"allow-remediation": ["true"]}, "tags_malformed"),
        ({"allow-remediation": "true", "n": 1}, "tags_malformed"),
        ({"allow-remediation": "true", "tags": {}}, "tag_not_allowed"),
        (["allow-remediation"], "tags_malformed"),
        ("true", "tags_malformed"),
        (b"<html>", "tags_malformed"),
        (b"", "tags_malformed"),
        ({f"t{n}": "x" for n in range(65)} | {"allow-remediation": "true"}, "tags_malformed"),
        ({"allow-remediation": "true", "long": "x" * 300}, "tags_malformed"),
    ],
)
def test_anything_else_is_a_refusal_with_its_reason(body: Any, code: str) -> None:
    check = judge_tags(reply(body))

    assert not check.allowed
    assert check.code == code
    assert check.message


@pytest.mark.parametrize("status", [201, 204, 302, 401, 404, 500])
def test_only_a_200_counts(status: int) -> None:
    assert judge_tags(reply({"allow-remediation": "true"}, status)).code == "tags_status"


def test_half_an_answer_does_not_count() -> None:
    assert judge_tags(reply({"allow-remediation": "true"}, truncated=True)).code == "tags_malformed"
