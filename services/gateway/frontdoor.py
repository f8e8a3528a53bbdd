"""The front door: every request passes here, whatever its path, before the router sees it.

In this order: a trace begins; the credential is known, or the answer is 401; the path is plain, or the answer is 404;
the body is read, bounded in bytes and in time, or the answer is 413 or 408; where the credential is a signature, the
body bears it out, or the answer is 401. Only then is anything routed, so that no spelling of a path and no method
reaches a handler around the credential. One path has its credential in its query: a URL of evidence, which is signed
and goes to a handler of its own (`evidence/downloads.py`). Every answer gets the security headers.
"""

import asyncio
import re
import time
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

from opentelemetry.trace import Span, SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import telemetry
from libs.common.errors import Denied, NotFound, RangerError, TooLarge
from libs.common.telemetry import log
from services.gateway import metrics, problems
from services.gateway.evidence.downloads import Downloads
from services.gateway.identity import Identity, identify
from services.gateway.principals.door import Doorkeeper, Headers, count, values
from services.gateway.principals.proof import Proof, Rejected
from services.gateway.principals.reception import Reception
from services.gateway.principals.senders import Claim

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PLAIN_PATH: Final = re.compile(rb"(/[A-Za-z0-9_.:~@-]+)+/?|/")
"""No percent-encoding, no `;`, no `//`: every id and name that we give out is made of these characters."""

SECURITY_HEADERS: Final = (
    # Answers are data, never pages: nothing may be loaded, framed or submitted from them.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Gone(Exception):
    """The caller left before the body was whole; nobody hears an answer."""


class FrontDoor:
    """The ASGI application around the router.

    `tenant` is the installation's default; `body_bytes` and `body_seconds` bound what a sender may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        reception: Reception,
        *,
        tenant: str,
        body_bytes: int,
        body_seconds: float,
        downloads: Downloads | None = None,
    ) -> None:
        self._app = app
        self._reception = reception
        self._tenant = tenant
        self._body_bytes = body_bytes
        self._body_seconds = body_seconds
        self._downloads = downloads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing escapes from here."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        callers_trace = values(scope["headers"], b"traceparent")[:1]
        with telemetry.span(f"HTTP {method}", kind=SpanKind.SERVER, links=callers_trace) as span:
            answer = _Answer(send, problems.trace_id())
            await self._answer(scope, receive, answer)
            route = getattr(scope.get("route"), "path", "unmatched")
            span.update_name(f"{method} {route}" if route != "unmatched" else f"HTTP {method}")
            _describe(span, scope, route, answer.status)
        metrics.REQUESTS.labels(method, route, str(answer.status)).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._pass(scope, receive, answer)
        except Gone:
            log.info("caller_gone")
        except RangerError as error:
            log.info("refused", code=error.reason_code, status=error.status)
            if not answer.status:
                await problems.answer(error)(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 — a bug: its place is logged, its text may hold what was sent
            log.error("request_failed", kind=type(error).__name__, at=_places(error))
            if not answer.status:
                await problems.internal()(scope, receive, answer)

    async def _pass(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers: Headers = scope["headers"]
        if self._downloads is not None and self._downloads.takes(scope):
            await self._downloads(scope, receive, answer)
            return
        door = self._reception.door
        try:
            shown = await door.admit(headers, method=scope["method"], path=_raw(scope))
            if isinstance(shown, Claim):
                await self._signed(shown, door, scope, receive, answer)
                return
        except Rejected as rejected:
            count(rejected)
            self._reception.note(rejected.principal, "authenticate", rejected.reason)
            raise
        except Denied as denied:  # a credential that is good, but not now
            self._reception.note(None, "authenticate", denied.reason_code)
            raise
        identity = self._identity(headers, shown)
        answer.repeat_key(identity, scope["method"])
        _plain(scope)
        body = b"" if scope["method"] in BODILESS else await self._body(headers, receive)
        await self._route(scope, identity, body, receive, answer)

    async def _signed(self, claim: Claim, door: Doorkeeper, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """A post that is signed: taken once, and once more only if we could not keep it."""
        body = await self._body(scope["headers"], receive)
        proof, digest = claim.prove(body)
        identity = self._identity(scope["headers"], door.vouch(proof))
        answer.repeat_key(identity, scope["method"])
        await self._reception.enter(claim.sender, digest)
        try:
            await self._route(scope, identity, body, receive, answer)
        finally:
            if not 200 <= answer.status < 500:
                await self._reception.release(claim.sender, digest)

    def _identity(self, headers: Headers, proof: Proof) -> Identity:
        try:
            return identify(headers, proof, default_tenant=self._tenant)
        except Denied as denied:
            self._reception.note(proof.principal, "tenant.enter", denied.reason_code)
            raise

    async def _route(self, scope: Scope, identity: Identity, body: bytes, receive: Receive, answer: "_Answer") -> None:
        scope.setdefault("state", {})["identity"] = identity
        await self._app(scope, _replayed(body, receive), answer)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body; reading stops at the first byte too many."""
        announced = values(headers, b"content-length")
        if announced and announced[0].isdigit() and int(announced[0][:20]) > self._body_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    body += message.get("body", b"")
                    if len(body) > self._body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise problems.TooSlow(f"The body was not whole after {self._body_seconds:g} s.") from None

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._body_bytes} bytes.", fix="Send less at a time.")


class _Answer:
    """What is sent back: adds the headers that every answer has, and remembers the status (0: none yet)."""

    def __init__(self, send: Send, trace: str) -> None:
        self.status = 0
        self._send = send
        self._headers = [*SECURITY_HEADERS, (b"trace-id", trace.encode())]

    def repeat_key(self, identity: Identity, method: str) -> None:
        """Tell the caller under which key a change may be repeated."""
        if method not in BODILESS:
            self._headers.append((b"idempotency-key", identity.request_key.encode()))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)


def _raw(scope: MutableMapping[str, Any]) -> bytes:
    """The path as it was spelt."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw


def _plain(scope: MutableMapping[str, Any]) -> None:
    raw = _raw(scope)
    segments = raw.split(b"/")
    if PLAIN_PATH.fullmatch(raw) is None or b"." in segments or b".." in segments:
        raise NotFound("There is nothing at this path.", fix="GET /openapi.json lists every path.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that hands out `body` once and then whatever the server says (that the caller left)."""
    pending = True

    async def replay() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _describe(span: Span, scope: Scope, route: str, status: int) -> None:
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    for name, value in (scope.get("path_params") or {}).items():
        span.set_attribute(f"rr.{name}", str(value))
    identity: Identity | None = scope.get("state", {}).get("identity")
    if identity is not None:
        span.set_attributes({"rr.tenant": identity.tenant, "rr.actor": identity.principal.actor})


def _places(error: BaseException) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]
