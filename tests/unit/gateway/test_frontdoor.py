"""What passes the front door: known callers on plain paths with whole, bounded bodies; everything else is answered."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from libs.common.policy import Principal
from services.gateway.frontdoor import FrontDoor
from services.gateway.principals.door import Doorkeeper
from services.gateway.principals.reception import Reception
from services.gateway.tokens import Credential, Tokens, _digest

TOKEN = "a-token-of-thirty-two-characters"
KNOWN = Tokens([Credential(_digest(TOKEN), Principal("olga", frozenset({"acme"}), frozenset({"admin"})))])
BEARER = (b"authorization", f"Bearer {TOKEN}".encode())


class Inside:
    """What stands behind the door; remembers whom and what it was shown."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        self.seen.append((scope["path"], message["body"]))
        if self.failure is not None:
            raise self.failure
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def knock(
    inside: Inside,
    *,
    method: str = "GET",
    path: bytes = b"/incidents",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: Iterable[Message] = (),
) -> tuple[int, dict[str, str], bytes]:
    door = FrontDoor(inside, Reception(Doorkeeper(KNOWN)), tenant="default", body_bytes=1000, body_seconds=0.05)
    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "headers": list(headers),
    }
    arriving = iter(body)
    sent: list[Message] = []

    async def receive() -> Message:
        return next(arriving, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    await door(scope, receive, send)
    if not sent:
        return 0, {}, b""
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], named, sent[1]["body"]


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"]),
    st.binary(max_size=40),
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x-user", b"cookie"]), st.binary(max_size=40)), max_size=3),
)
async def test_without_the_token_nothing_is_reached_whatever_is_sent(
    method: str, path: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    inside = Inside()

    status, answered, _ = await knock(inside, method=method, path=b"/" + path, headers=headers)

    assert status == 401
    assert answered["content-type"] == "application/problem+json"
    assert inside.seen == []


@given(st.text(alphabet="abc/.;%2f\\?#~@:- 0", max_size=20).map(lambda text: f"/{text}".encode()))
async def test_only_one_spelling_of_a_path_goes_through(path: bytes) -> None:
    inside = Inside()

    status, _, _ = await knock(inside, path=path, headers=[BEARER])

    plain = not any(mark in path for mark in (b"//", b";", b"%", b"\\", b"?", b"#", b" "))
    dots = {b".", b".."} & set(path.split(b"/"))
    assert status == (200 if plain and not dots else 404)
    assert bool(inside.seen) == (status == 200)


async def test_a_body_in_pieces_is_handed_on_whole() -> None:
    inside = Inside()
    pieces: list[Message] = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]

    status, headers, _ = await knock(inside, method="POST", headers=[BEARER], body=pieces)

    assert (status, inside.seen) == (200, [("/incidents", b"one two")])
    assert headers["idempotency-key"]


@pytest.mark.parametrize("length", [b"1001", b"9" * 5000])
async def test_a_length_over_the_limit_is_refused_before_anything_is_read(length: bytes) -> None:
    inside = Inside()

    status, _, _ = await knock(inside, method="POST", headers=[BEARER, (b"content-length", length)])

    assert (status, inside.seen) == (413, [])


async def test_reading_stops_at_the_limit() -> None:
    read = 0

    def endless() -> Iterable[Message]:
        nonlocal read
        while True:
            read += 1
            yield {"type": "http.request", "body": b"x" * 400, "more_body": True}

    status, _, _ = await knock(Inside(), method="POST", headers=[BEARER], body=endless())

    assert (status, read) == (413, 3)


async def test_nobody_is_answered_who_left() -> None:
    inside = Inside()
    half: list[Message] = [{"type": "http.request", "body": b"half", "more_body": True}]

    assert await knock(inside, method="POST", headers=[BEARER], body=half) == (0, {}, b"")
    assert inside.seen == []


async def test_a_bug_is_answered_without_its_text_and_nothing_escapes() -> None:
    inside = Inside(ValueError("the token is secret-canary"))

    status, headers, body = await knock(inside, headers=[BEARER])

    problem: dict[str, Any] = orjson.loads(body)
    assert (status, problem["code"]) == (500, "internal")
    assert b"canary" not in body
    assert headers["x-content-type-options"] == "nosniff"


async def test_other_protocols_are_not_served() -> None:
    door = FrontDoor(Inside(), Reception(Doorkeeper(KNOWN)), tenant="default", body_bytes=1000, body_seconds=1)

    async def unused() -> Message:
        raise AssertionError

    async def send(_message: Message) -> None:
        raise AssertionError

    await door({"type": "websocket", "path": "/"}, unused, send)
