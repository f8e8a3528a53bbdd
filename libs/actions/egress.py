"""The one client for outbound calls: resolve, check, then connect to exactly the address that was checked.

The name is resolved once per connection, the policy looks at the addresses, and the socket goes to one of them; Host
and TLS server name stay the original ones. No redirects, no proxies from the environment, answers bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

import httpcore
import httpx

from libs.actions.addresses import EgressPolicy, Origin, parse_origin
from libs.actions.errors import EgressFailed, EgressRefused

Resolver = Callable[[str, int], Awaitable[Iterable[str]]]

ANSWER_LIMIT = 1024 * 1024
CONNECTIONS = 100
IDLE_SECONDS = 5.0
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "runbook-ranger"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` holds at most `limit` bytes, `length` and `sha256` are of what was read.

    When `truncated`, reading stopped at the limit, and so did the hash.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    truncated: bool
    length: int
    sha256: str
    duration_ms: float

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.headers if key == name.lower()), None)


async def system_resolver(host: str, port: int) -> list[str]:
    """The addresses of a name as the machine resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections only to addresses that the policy permits; the address checked is the address used."""

    def __init__(self, policy: EgressPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address that answers; EgressRefused when none is permitted."""
        addresses = await self.addresses(Origin("tcp", host.lower(), port), timeout)
        for index, address in enumerate(addresses):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if index == len(addresses) - 1:
                    raise
        raise EgressFailed("dns_empty", f"the name {host!r} has no address", sent=False)

    async def addresses(self, origin: Origin, timeout: float | None) -> list[str]:
        """The permitted addresses of an origin, in the resolver's order."""
        self._policy.check_name(origin)
        if origin.literal is not None:
            found = [str(origin.literal)]
        else:
            try:
                async with asyncio.timeout(timeout):
                    found = list(await self._resolver(origin.host, origin.port))
            except (OSError, TimeoutError, UnicodeError):
                raise EgressFailed("dns_failed", f"the name {origin.host!r} cannot be resolved", sent=False) from None
        permitted = [address for address in found if self._policy.permits(origin, ip_address(address))]
        if found and not permitted:
            raise EgressRefused(
                "egress_address_blocked",
                f"{origin.host}:{origin.port} leads to an address that is not public;"
                " RR_EGRESS_ALLOW may open it (host, host:port or CIDR)",
            )
        return permitted

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never: URLs do not name sockets."""
        del timeout, socket_options
        raise EgressRefused("egress_scheme_blocked", f"unix sockets are not reachable: {path!r}")

    async def sleep(self, seconds: float) -> None:
        """As the protocol asks."""
        await asyncio.sleep(seconds)


class PinnedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool whose connections are pinned."""

    def __init__(self, backend: PinnedBackend, tls: ssl.SSLContext, *, keep: int) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=CONNECTIONS,
            max_keepalive_connections=keep,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=backend,
        )


class Egress:
    """Outbound HTTP for one process; share one, as a context or with `close` at the end.

    `tls` is the trust of https calls, the usual one by default.
    """

    def __init__(
        self, policy: EgressPolicy, resolver: Resolver = system_resolver, tls: ssl.SSLContext | None = None
    ) -> None:
        self.policy = policy
        backend = PinnedBackend(policy, resolver)
        tls = tls or httpx.create_ssl_context(trust_env=False)
        self._pooled = _client(PinnedTransport(backend, tls, keep=CONNECTIONS))
        self._fresh = _client(PinnedTransport(backend, tls, keep=0))

    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        limit: int = ANSWER_LIMIT,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> Reply:
        """One request, one answer, within `timeout` seconds over all.

        `fresh` uses a new connection: an idle one that the server just closed would make an unrepeatable request
        fail in doubt. EgressRefused: forbidden, nothing sent. EgressFailed: no answer; `sent` tells whether it left,
        and so does `progress` for a caller that is cancelled. Bodies are taken as they are: no decompression.
        """
        parse_origin(url)
        client = self._fresh if fresh else self._pooled
        started = time.monotonic()
        progress = progress or Progress()
        try:
            async with asyncio.timeout(timeout):
                request = client.build_request(
                    method, url, headers=headers, content=content, extensions={"trace": progress.trace}
                )
                response = await client.send(request, stream=True)
                try:
                    return await _read(response, limit, started)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise EgressFailed("timeout", f"no answer within {timeout:.1f} s", sent=progress.sent) from None
        except httpx.TimeoutException as error:
            raise EgressFailed("timeout", _text(error), sent=progress.sent) from None
        except httpx.ConnectError as error:
            raise EgressFailed("connect_failed", _text(error), sent=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EgressFailed("connection_lost", _text(error), sent=progress.sent) from None

    async def close(self) -> None:
        """Close all connections."""
        with suppress(RuntimeError):  # a pool of an event loop that has already ended
            await self._pooled.aclose()
            await self._fresh.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Progress:
    """Watches a request leave: `sent` is True from the moment its first byte may be on the wire."""

    def __init__(self) -> None:
        self.sent = False

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        """Httpcore's trace hook."""
        if event.endswith("send_request_headers.started"):
            self.sent = True


def _client(transport: PinnedTransport) -> httpx.AsyncClient:
    # The whole call is bounded by `asyncio.timeout`; httpx's own limits would only split it.
    # Compressed answers are not asked for: a small one could unpack to any size.
    return httpx.AsyncClient(
        transport=transport, headers=HEADERS, follow_redirects=False, trust_env=False, timeout=httpx.Timeout(None)
    )


async def _read(response: httpx.Response, limit: int, started: float) -> Reply:
    body = bytearray()
    truncated = False
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            truncated = True
            break
    kept = bytes(body[:limit])
    return Reply(
        status=response.status_code,
        headers=tuple((key.lower(), value) for key, value in response.headers.items()),
        body=kept,
        truncated=truncated,
        length=len(kept),
        sha256=hashlib.sha256(kept).hexdigest(),
        duration_ms=round((time.monotonic() - started) * 1000, 3),
    )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
