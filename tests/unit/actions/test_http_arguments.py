"""What an author may ask `http.request` for."""

from typing import Any

import pytest

from libs.actions import ArgumentsInvalid, Effect, EffectRefused
from libs.actions.errors import EgressRefused
from libs.actions.http_request import HttpRequest

URL = "http://shard.example:8080/reroute"
HTTP = HttpRequest()


def test_the_least_is_a_url() -> None:
    arguments = HTTP.parse({"url": URL})

    assert arguments.method == "GET"
    assert arguments.expect_status == ["200-299"]


@pytest.mark.parametrize(
    "name",
    ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Idempotency-Key",
     "RR-FENCE", "Traceparent", "Expect", "Accept-Encoding", "Proxy-Authorization"],
)  # fmt: skip
def test_headers_of_the_transport_and_of_the_attempt_are_not_the_authors(name: str) -> None:
    with pytest.raises(ArgumentsInvalid):
        HTTP.parse({"url": URL, "headers": {name: "x"}})


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"X-A": "1\r\nHost: evil"}},
        {"headers": {"X A": "1"}},
        {"headers": {"X:A": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"X-A": "é"}},
        {"headers": {"X-A": 1}},
        {"json": {}, "body": "x"},
        {"method": "TRACE"},
        {"method": "get"},
        {"expect_status": []},
        {"expect_status": ["2xx"]},
        {"expect_status": [99]},
        {"timeout_seconds": 0},
        {"timeout_seconds": 1e9},
        {"capture": {"a": "no/slash"}},
        {"verify": False},
    ],
)
def test_nonsense_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsInvalid):
        HTTP.parse({"url": URL} | more)


@pytest.mark.parametrize(
    ("method", "effect"),
    [("POST", Effect.READ), ("PUT", Effect.READ), ("PATCH", Effect.READ), ("DELETE", Effect.READ)],
)
def test_a_method_that_changes_something_is_never_a_read(method: str, effect: Effect) -> None:
    with pytest.raises(EffectRefused):
        HTTP.check_effect(HTTP.parse({"url": URL, "method": method}), effect)


@pytest.mark.parametrize(
    ("method", "default"), [("GET", "read"), ("PUT", "idempotent"), ("DELETE", "idempotent"), ("POST", "unsafe")]
)
def test_the_default_effect_is_what_http_promises(method: str, default: str) -> None:
    assert HTTP.effects(HTTP.parse({"url": URL, "method": method}))[0] == default


def test_tags_stand_on_the_target_itself() -> None:
    assert HTTP.tags_url(HTTP.parse({"url": URL})) == "http://shard.example:8080/tags"
    assert HTTP.tags_url(HTTP.parse({"url": "http://[2001:db8::1]/x"})) == "http://[2001:db8::1]:80/tags"
    own = HTTP.parse({"url": URL, "tags_url": "http://shard.example:9090/labels"})
    assert HTTP.tags_url(own) == "http://shard.example:9090/labels"


def test_an_author_cannot_have_the_tags_of_another_host_read() -> None:
    with pytest.raises(EgressRefused):
        HTTP.tags_url(HTTP.parse({"url": URL, "tags_url": "http://friendly.example/tags"}))


def test_the_resource_is_the_origin() -> None:
    assert HTTP.resource(HTTP.parse({"url": URL})) == "http://shard.example:8080"
