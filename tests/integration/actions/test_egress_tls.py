"""Over TLS the name is checked, although the connection goes to an address."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.actions import Egress
from libs.actions.addresses import EgressPolicy
from libs.actions.errors import EgressFailed
from tests.support.listening import listening

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@dataclass
class TlsServer:
    """A server that is shard.example, and the names that clients asked it for."""

    certificate: Path
    port: int = 0
    names: list[str | None] = field(default_factory=list)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate,
         "-subj", "/CN=shard.example", "-addext", "subjectAltName=DNS:shard.example"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


@pytest.fixture
async def tls_server(identity: tuple[Path, Path]) -> AsyncIterator[TlsServer]:
    key, certificate = identity
    server = TlsServer(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: server.names.append(name)
    async with listening(answer, context) as server.port:
        yield server


async def loopback(_host: str, _port: int) -> list[str]:
    await asyncio.sleep(0)
    return ["127.0.0.1"]


async def test_the_server_is_asked_for_its_name_and_proves_it(tls_server: TlsServer) -> None:
    trust = ssl.create_default_context(cafile=str(tls_server.certificate))
    async with Egress(EgressPolicy.of("127.0.0.1"), loopback, trust) as egress:
        reply = await egress.request("GET", f"https://shard.example:{tls_server.port}/", timeout=10)

    assert reply.body == b"ok"
    assert tls_server.names == ["shard.example"]


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
async def test_a_server_that_cannot_prove_the_name_is_not_spoken_to(tls_server: TlsServer, host: str) -> None:
    trust = ssl.create_default_context(cafile=str(tls_server.certificate))
    async with Egress(EgressPolicy.of("127.0.0.1"), loopback, trust) as egress:
        with pytest.raises(EgressFailed) as failure:
            await egress.request("POST", f"https://{host}:{tls_server.port}/", timeout=10, content=b"secret")

    assert (failure.value.code, failure.value.sent) == ("connect_failed", False)


async def test_a_server_that_nobody_vouches_for_is_not_spoken_to(tls_server: TlsServer) -> None:
    async with Egress(EgressPolicy.of("127.0.0.1"), loopback) as egress:
        with pytest.raises(EgressFailed) as failure:
            await egress.request("GET", f"https://shard.example:{tls_server.port}/", timeout=10)

    assert failure.value.sent is False
