"""URLs of evidence: what was given out is known again, and nothing else is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest

from libs.common.errors import Misconfigured
from services.gateway.evidence.links import Link, Links, UrlInvalid, UrlTooOld

OLD, NEW = "the-secret-of-yesterday", "the-secret-of-tomorrow"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LINK = Link(
    sha256="a" * 64,
    tenant="acme",
    kind="output",
    length=12,
    filename="what-it-said.json",
    until=int(NOW.timestamp()) + 60,
)


def parts(url: str) -> tuple[str, bytes]:
    path, _, query = url.partition("?")
    assert path == f"/evidence/{'a' * 64}/content"
    return path.split("/")[2], query.encode()


def test_what_was_given_out_is_known_again_until_its_time_is_over() -> None:
    links = Links.of(NEW)

    sha256, query = parts(links.url(LINK))

    assert links.read(sha256, query, now=NOW) == LINK
    assert links.read(sha256, query, now=NOW + timedelta(seconds=59.9)) == LINK
    with pytest.raises(UrlTooOld):
        links.read(sha256, query, now=NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("name", "value"),
    [("tenant", "globex"), ("kind", "approval"), ("length", 13), ("filename", "x.exe"), ("until", 2**40)],
)
def test_nothing_of_it_can_be_changed(name: str, value: Any) -> None:
    links = Links.of(NEW)
    sha256, query = parts(links.url(LINK))
    said = dict(parse_qsl(query.decode()))

    changed = urlencode({**said, name: value}).encode()

    with pytest.raises(UrlInvalid):
        links.read(sha256, changed, now=NOW)


def test_it_is_good_for_one_object_alone() -> None:
    links = Links.of(NEW)
    _, query = parts(links.url(LINK))

    with pytest.raises(UrlInvalid):
        links.read("b" * 64, query, now=NOW)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _query: b"",
        lambda query: query + b"&tenant=globex",
        lambda query: b"tenant=globex&" + query,
        lambda query: query + b"&more=1",
        lambda query: query + b"&sha256=" + b"b" * 64,
        lambda query: query.replace(b"length=12", b"length=twelve"),
        lambda query: query.replace(b"length=12&", b""),
        lambda query: query.partition(b"&signature=")[0],
        lambda query: query.partition(b"signature=")[0] + b"signature=",
        lambda query: query[:-1],
        lambda query: query + b"%ff",
        lambda query: query + b"&x=" + b"1" * 2000,
        lambda _query: b"\xff\xfe",
    ],
)
def test_what_is_malformed_is_no_url(spoil: Any) -> None:
    links = Links.of(NEW)
    sha256, query = parts(links.url(LINK))

    with pytest.raises(UrlInvalid):
        links.read(sha256, spoil(query), now=NOW)


def test_a_secret_is_changed_while_both_are_good() -> None:
    sha256, query = parts(Links.of(OLD).url(LINK))

    assert Links.of(f"{NEW},{OLD}").read(sha256, query, now=NOW) == LINK
    with pytest.raises(UrlInvalid):
        Links.of(NEW).read(sha256, query, now=NOW)
    _, fresh = parts(Links.of(f"{NEW},{OLD}").url(LINK))
    assert Links.of(NEW).read(sha256, fresh, now=NOW) == LINK


def test_without_a_secret_none_is_given_out_and_none_is_good() -> None:
    sha256, query = parts(Links.of(NEW).url(LINK))

    with pytest.raises(Misconfigured, match="no secret"):
        Links.of("").url(LINK)
    with pytest.raises(UrlInvalid):
        Links.of("").read(sha256, query, now=NOW)


@pytest.mark.parametrize("text", ["short", f"{NEW},{OLD},a-third-secret-of-all", f"{NEW},short"])
def test_a_setting_that_cannot_be_meant_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="evidence secret") as refused:
        Links.of(text)
    assert all(part not in str(refused.value) for part in text.split(","))


def test_no_text_of_it_shows_the_secret() -> None:
    links = Links.of(NEW)

    assert NEW not in f"{links!r}{links.url(replace(LINK, filename='x'))}"
