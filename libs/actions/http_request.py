"""`http.request`: one HTTP call to a target, with the idempotency key and the fence that let it refuse repeats."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, JsonValue, field_validator, model_validator

from libs.actions.addresses import parse_origin
from libs.actions.api import CANCELLED, NOT_STOPPED, Action, ActionContext, ActionResult, Arguments, Effect
from libs.actions.egress import Egress, Progress, Reply
from libs.actions.errors import EgressFailed, EgressRefused
from libs.actions.masking import Mask, header_secrets, is_secret_header

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What the transport or this action decides; an author's value would lie about the message or the attempt.
RESERVED_HEADERS = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect",
    "proxy-connection", "proxy-authorization", "proxy-authenticate", "accept-encoding",
    "idempotency-key", "rr-fence", "traceparent", "tracestate",
})  # fmt: skip
SHOWN_HEADERS = ("content-type", "content-length", "etag", "location", "retry-after", "idempotent-replay", "date")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e]{0,8192}")
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
# Answers by which a server says that it did not act. 408 and 5xx say nothing about the effect; a 303 says it acted.
REFUSED = frozenset(range(400, 500)) - {408, 499}
LAST_WORD_SECONDS = 4.0  # less than the caller waits for a cancelled action

StatusRange = Annotated[str, Field(pattern=r"^[1-5][0-9]{2}-[1-5][0-9]{2}$")]
Status = Annotated[int, Field(ge=100, le=599)]


class HttpArguments(Arguments):
    """`expect_status` lists codes and ranges such as "200-299"; `json` and `body` exclude each other.

    `tags_url` is where the target's tags are read; it stands on the same host as `url` and is `/tags` there if absent.
    """

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Annotated[str, Field(min_length=1, max_length=4096)]
    headers: Annotated[dict[str, str], Field(max_length=64)] = Field(default_factory=dict)
    payload: Annotated[JsonValue, Field(alias="json")] = None
    body: Annotated[str, Field(max_length=256 * 1024)] | None = None
    expect_status: Annotated[list[Status | StatusRange], Field(min_length=1, max_length=16)] = Field(
        default_factory=lambda: list[int | str](("200-299",))
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    capture: Annotated[dict[str, str], Field(max_length=32)] = Field(default_factory=dict)
    tags_url: Annotated[str, Field(max_length=4096)] | None = None

    @field_validator("headers")
    @classmethod
    def _headers_are_the_authors(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if HEADER_NAME.fullmatch(name) is None or HEADER_VALUE.fullmatch(value) is None:
                raise ValueError("a header's name or value holds characters that headers do not have")
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"the header {name} is not the author's to set")
        return headers

    @field_validator("capture")
    @classmethod
    def _captures_are_pointers(cls, capture: dict[str, str]) -> dict[str, str]:
        if any(pointer and not pointer.startswith("/") for pointer in capture.values()):
            raise ValueError("captures are JSON pointers: '' or '/a/b/0'")
        return capture

    @model_validator(mode="after")
    def _one_body(self) -> HttpArguments:
        if self.payload is not None and self.body is not None:
            raise ValueError("json and body exclude each other")
        return self


class HttpRequest(Action[HttpArguments]):
    """Call a URL.

    Outputs: `status`, `headers` (a harmless few), `json` (when the answer is JSON), `text` (otherwise), `captured`.
    """

    name: ClassVar[str] = "http.request"
    summary: ClassVar[str] = "Call a URL; sends Idempotency-Key and Rr-Fence"
    arguments = HttpArguments

    def effects(self, arguments: HttpArguments) -> tuple[Effect, ...]:
        """A method that HTTP calls safe may be declared `read`; any other changes something."""
        if arguments.method in SAFE_METHODS:
            return (Effect.READ, Effect.IDEMPOTENT, Effect.KEYED, Effect.UNSAFE)
        if arguments.method in {"PUT", "DELETE"}:
            return (Effect.IDEMPOTENT, Effect.KEYED, Effect.UNSAFE)
        return (Effect.UNSAFE, Effect.KEYED, Effect.IDEMPOTENT)

    def resource(self, arguments: HttpArguments) -> str | None:
        """The origin: `http://host:port`."""
        origin = parse_origin(arguments.url)
        return f"{origin.scheme}://{origin.host}:{origin.port}"

    def tags_url(self, arguments: HttpArguments) -> str | None:
        """Tags stand on the target itself; EgressRefused when an author points to another host."""
        origin = parse_origin(arguments.url)
        if arguments.tags_url is None:
            host = f"[{origin.host}]" if ":" in origin.host else origin.host
            return f"{origin.scheme}://{host}:{origin.port}/tags"
        if parse_origin(arguments.tags_url).host != origin.host:
            raise EgressRefused("tags_elsewhere", "tags_url must stand on the host that the step calls")
        return arguments.tags_url

    async def run(self, arguments: HttpArguments, context: ActionContext) -> ActionResult:
        """One request; it is never repeated here, the executor decides about retries."""
        progress = Progress()
        mask = Mask((*context.secrets, *header_secrets(arguments.headers)))
        call = asyncio.ensure_future(_call(context.egress, arguments, context, progress))
        await _ended(call, context, progress)
        if call.cancelled():
            return _cut_off(context, progress)
        try:
            reply = call.result()
        except (EgressRefused, EgressFailed) as error:
            sent = isinstance(error, EgressFailed) and error.sent
            return ActionResult.failed(
                error.code, mask.text(str(error)), effect_possible=sent, retryable=isinstance(error, EgressFailed)
            )
        return _judged(arguments, reply, mask)


async def _ended(call: asyncio.Future[Reply], context: ActionContext, progress: Progress) -> None:
    """Wait for the call; when it is withdrawn after it was sent, for its last word: it cannot be taken back."""
    try:
        await asyncio.wait({call})
    except asyncio.CancelledError:
        try:
            if progress.sent and context.lease.cancelled:
                await asyncio.wait({call}, timeout=LAST_WORD_SECONDS)
        finally:
            call.cancel()
        await asyncio.wait({call})


def _cut_off(context: ActionContext, progress: Progress) -> ActionResult:
    withdrawn = context.lease.cancelled
    if not progress.sent:
        return ActionResult.failed(CANCELLED, withdrawn or "stopped before anything was sent", effect_possible=False)
    if not withdrawn or context.effect is Effect.READ:
        return ActionResult.failed(CANCELLED, withdrawn or "stopped while the call was under way", effect_possible=True)
    message = f"{withdrawn}: the call had been sent and may go on at the target"
    return ActionResult.failed(NOT_STOPPED, message, effect_possible=True)


async def _call(egress: Egress, arguments: HttpArguments, context: ActionContext, progress: Progress) -> Reply:
    return await egress.request(
        arguments.method,
        arguments.url,
        timeout=min(arguments.timeout_seconds, context.step_seconds_left()),
        headers=_headers(arguments, context),
        content=_content(arguments),
        fresh=context.effect is Effect.UNSAFE,
        progress=progress,
    )


def _headers(arguments: HttpArguments, context: ActionContext) -> dict[str, str]:
    headers = dict(arguments.headers)
    if arguments.payload is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    headers |= {"Idempotency-Key": context.idem_key, "Rr-Fence": str(context.fence)}
    if context.traceparent:
        headers["traceparent"] = context.traceparent
    return headers


def _content(arguments: HttpArguments) -> bytes | None:
    if arguments.payload is not None:
        return orjson.dumps(arguments.payload)
    return arguments.body.encode() if arguments.body is not None else None


def _judged(arguments: HttpArguments, reply: Reply, mask: Mask) -> ActionResult:
    outputs = _outputs(arguments, reply, mask)
    evidence = {
        "status": reply.status,
        "duration_ms": reply.duration_ms,
        "bytes": reply.length,
        "sha256": reply.sha256,
        "truncated": reply.truncated,
        "replayed": (reply.header("idempotent-replay") or "").lower() == "true",
    }
    if _expected(arguments.expect_status, reply.status):
        return ActionResult.succeeded(outputs, evidence)
    return ActionResult.failed(
        "unexpected_status",
        f"the target answered {reply.status}",
        effect_possible=reply.status not in REFUSED,
        retryable=reply.status in RETRYABLE,
        outputs=outputs,
        evidence=evidence,
    )


def _outputs(arguments: HttpArguments, reply: Reply, mask: Mask) -> dict[str, Any]:
    shown = {name: mask.text(value) for name in SHOWN_HEADERS if (value := reply.header(name)) is not None}
    shown = {name: value for name, value in shown.items() if not is_secret_header(name)}
    outputs: dict[str, Any] = {"status": reply.status, "headers": shown}
    document = _json(reply)
    if document is not None:
        outputs["json"] = mask.value(document)
    elif reply.body:
        text = mask.text(reply.body.decode("utf-8", "replace"))
        outputs["text"] = text
        if reply.truncated:
            outputs["truncated"] = ["text"]
    if arguments.capture:
        outputs["captured"] = {name: _pointed(outputs.get("json"), at) for name, at in arguments.capture.items()}
    return outputs


def _json(reply: Reply) -> Any:
    kind = (reply.header("content-type") or "").partition(";")[0].strip().lower()
    if reply.truncated or not (kind == "application/json" or kind.endswith("+json")):
        return None
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None


def _pointed(document: Any, pointer: str) -> Any:
    """The value at an RFC 6901 pointer; null where there is none."""
    for raw in pointer.split("/")[1:]:
        part = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def _expected(expected: list[int | str], status: int) -> bool:
    for item in expected:
        first, _, last = str(item).partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False
