"""Outbound calls reach what they may and nothing else, whatever DNS and servers say."""

import asyncio
import socket
import time

import pytest

from libs.actions import Egress
from libs.actions.addresses import EgressPolicy
from libs.actions.errors import EgressFailed, EgressRefused
from tests.integration.actions.conftest import RawServer


class Names:
    """A resolver whose answers change from one look-up to the next, as rebinding does."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        await asyncio.sleep(0)
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_private_address_is_refused_before_anything_is_sent(server: RawServer) -> None:
    async with Egress(EgressPolicy()) as egress:
        with pytest.raises(EgressRefused, match="RR_EGRESS_ALLOW"):
            await egress.request("GET", server.url, timeout=5)

    assert server.connections == 0


@pytest.mark.parametrize("answer", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0", "::1"])  # noqa: S104
async def test_a_name_that_leads_to_a_private_address_is_refused(answer: str) -> None:
    async with Egress(EgressPolicy(), Names([answer])) as egress:
        with pytest.raises(EgressRefused) as refusal:
            await egress.request("GET", "http://innocent.example/", timeout=5)

    assert refusal.value.code == "egress_address_blocked"


async def test_the_address_that_was_checked_is_the_address_that_is_used(server: RawServer) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    async with Egress(EgressPolicy.of("127.0.0.1"), names) as egress:
        reply = await egress.request("GET", f"http://shard.example:{server.port}/x", timeout=5)

    assert reply.status == 200
    assert names.asked == ["shard.example"]
    assert server.headers()["host"] == f"shard.example:{server.port}"


async def test_a_name_that_is_rebound_between_two_connections_is_refused_at_the_second(server: RawServer) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    async with Egress(EgressPolicy.of("shard.example"), names) as egress:
        first = await egress.request("GET", f"http://shard.example:{server.port}/", timeout=5, fresh=True)
        with pytest.raises(EgressRefused):
            await egress.request("GET", f"http://shard.example:{server.port}/", timeout=5, fresh=True)

    assert first.status == 200
    assert server.connections == 1


async def test_of_several_addresses_only_permitted_ones_are_tried(server: RawServer) -> None:
    names = Names(["10.0.0.1", "169.254.169.254", "127.0.0.1"])
    async with Egress(EgressPolicy.of("127.0.0.1"), names) as egress:
        assert (await egress.request("GET", f"http://shard.example:{server.port}/", timeout=5)).status == 200


async def test_a_redirect_is_an_answer_and_not_followed(server: RawServer, egress: Egress) -> None:
    server.says("HTTP/1.1 302 Found", "Location: http://169.254.169.254/latest/meta-data/")

    reply = await egress.request("GET", server.url, timeout=5)

    assert reply.status == 302
    assert len(server.requests) == 1


async def test_a_large_answer_is_cut_while_it_is_read(server: RawServer, egress: Egress) -> None:
    written = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    server.answer = flood

    reply = await egress.request("GET", server.url, timeout=20, limit=100_000)

    assert (len(reply.body), reply.truncated) == (100_000, True)
    assert written < 50_000_000


async def test_answers_are_asked_for_and_taken_uncompressed(server: RawServer, egress: Egress) -> None:
    server.says("HTTP/1.1 200 OK", "Content-Encoding: gzip", body=b"\x1f\x8bnot unpacked")

    reply = await egress.request("GET", server.url, timeout=5)

    assert server.headers()["accept-encoding"] == "identity"
    assert reply.body == b"\x1f\x8bnot unpacked"


async def test_proxies_of_the_environment_are_not_used(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Egress(EgressPolicy.of("127.0.0.1")) as egress:
        assert (await egress.request("GET", server.url, timeout=5)).status == 200


async def test_a_refused_connection_was_not_sent(egress: Egress) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(EgressFailed) as failure:
        await egress.request("POST", f"http://127.0.0.1:{port}/", timeout=5)

    assert (failure.value.code, failure.value.sent) == ("connect_failed", False)


async def test_a_name_that_cannot_be_resolved_was_not_sent() -> None:
    async def nobody(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(0)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with Egress(EgressPolicy(), nobody) as egress:
        with pytest.raises(EgressFailed) as failure:
            await egress.request("POST", "http://nowhere.example/", timeout=5)

    assert (failure.value.code, failure.value.sent) == ("dns_failed", False)


async def test_a_slow_resolver_is_bounded_and_was_not_sent() -> None:
    async def slow(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with Egress(EgressPolicy(), slow) as egress:
        started = time.monotonic()
        with pytest.raises(EgressFailed) as failure:
            await egress.request("POST", "http://slow.example/", timeout=0.1)

    assert (failure.value.code, failure.value.sent) == ("timeout", False)
    assert time.monotonic() - started < 5


async def test_a_silent_server_was_sent_to(server: RawServer, egress: Egress) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server.answer = silent

    with pytest.raises(EgressFailed) as failure:
        await egress.request("POST", server.url, timeout=0.2, content=b"{}")

    assert (failure.value.code, failure.value.sent) == ("timeout", True)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"SSH-2.0-OpenSSH\r\n\r\n"]
)
async def test_a_server_that_breaks_off_was_sent_to(server: RawServer, egress: Egress, said: bytes) -> None:
    async def breaks(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server.answer = breaks

    with pytest.raises(EgressFailed) as failure:
        await egress.request("POST", server.url, timeout=5, content=b"{}")

    assert (failure.value.code, failure.value.sent) == ("connection_lost", True)


async def test_pooled_calls_share_a_connection_and_fresh_ones_do_not(server: RawServer, egress: Egress) -> None:
    for _ in range(3):
        await egress.request("GET", server.url, timeout=5)
    assert server.connections == 1

    for _ in range(3):
        await egress.request("POST", server.url, timeout=5, fresh=True)
    assert server.connections == 4
