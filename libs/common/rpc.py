"""Commands and questions between services: NATS request/reply on `rpc.<service>.<verb>`, in a queue group a service.

A command carries a request key: it takes effect once, and asking again with the same key gives the stored answer; the
same key with another body is refused. A refusal is not stored, so the same request may succeed later. Replies stay
under 512 KiB. A time-out says nothing about the effect: ask again with the same key.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import nats.errors
import orjson
from faststream.nats import NatsMessage
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ConfigDict, ValidationError

from libs.common import decisions, metrics, telemetry, together
from libs.common.bus import Bus
from libs.common.contracts.fact import describe
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.denials import NotPermitted
from libs.common.errors import (
    Conflict,
    Denied,
    InvalidInput,
    Misconfigured,
    RangerError,
    TooLarge,
    Unavailable,
    from_wire,
)
from libs.common.ids import new_id
from libs.common.policy import Principal, ledger
from libs.common.sight import Sight, narrow
from libs.common.telemetry import log
from libs.common.together import Write

MAX_REPLY_BYTES: Final = 512 * 1024
CONCURRENT: Final = 32

_STORED: Final = "SELECT body_sha256, response FROM command WHERE tenant_id = $1 AND request_key = $2"
_ANSWERED: Final = (
    "INSERT INTO command (request_key, tenant_id, verb, body_sha256, response) VALUES ($1, $2, $3, $4, $5)"
)

C = TypeVar("C", bound=BaseModel)


class Question(BaseModel):
    """Base of request bodies: unknown fields are refused, so that a misspelt one is not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for which tenant, in which conversation."""

    principal: Principal
    tenant: str
    request_key: str
    traceparent: str = ""


Answer = Mapping[str, Any]
CommandHandler = Callable[[Tx, Caller, C], Awaitable[Answer]]
"""Changes state inside the transaction that stores its answer."""


class RpcServer:
    """The verbs of one service. Register them before the bus serves."""

    def __init__(self, bus: Bus, database: Database, service: str) -> None:
        self._bus = bus
        self._database = database
        self._service = service

    def command(
        self,
        verb: str,
        body: type[C],
        handler: CommandHandler[C],
        after_commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """A verb that changes state: one transaction with its stored answer, then `after_commit`, then the reply."""

        async def answer(caller: Caller, question: C) -> Answer:
            content = await self._once(verb, caller, question, handler)
            crash_point("command_after_commit")
            if after_commit is not None:
                await after_commit()
            return content

        self._register(verb, body, answer)

    def query(self, verb: str, body: type[C], handler: CommandHandler[C]) -> None:
        """A verb that only reads, and sees one moment throughout."""

        async def answer(caller: Caller, question: C) -> Answer:
            async with self._database.transaction(verb, snapshot=True) as tx:
                await narrow(tx, Sight.of(caller.principal, caller.tenant, changes=False))
                return await handler(tx, caller, question)

        self._register(verb, body, answer)

    def _register(self, verb: str, body: type[C], answer: Callable[[Caller, C], Awaitable[Answer]]) -> None:
        async def handle(message: NatsMessage) -> bytes:
            return await self._answer(verb, body, message, answer)

        subject = f"rpc.{self._service}.{verb}"
        self._bus.broker.subscriber(subject, queue=self._service, max_workers=CONCURRENT)(handle)

    async def _answer(
        self, verb: str, body: type[C], message: NatsMessage, answer: Callable[[Caller, C], Awaitable[Answer]]
    ) -> bytes:
        began = time.perf_counter()
        parent = (message.raw_message.headers or {}).get("traceparent", "")
        code = "ok"
        with telemetry.span(f"rpc {self._service}.{verb}", parent=parent, kind=SpanKind.SERVER):
            try:
                caller, question = _parse(body, message.raw_message.data)
                reply = _bounded(orjson.dumps({"ok": await answer(caller, question)}))
            except RangerError as error:
                code = error.reason_code
                reply = orjson.dumps({"error": error.to_wire()})
            except TRANSIENT as error:
                code = Unavailable.code
                log.warning("rpc_unavailable", verb=verb, error=f"{type(error).__name__}: {error}")
                reply = orjson.dumps({"error": Unavailable("A server is not answering.", fix="Ask again.").to_wire()})
            except Exception:  # noqa: BLE001 — a bug: logged whole, answered without detail
                code = RangerError.code
                log.exception("rpc_failed", verb=verb)
                detail = "This is a bug of ours; the log has it under this trace id."
                reply = orjson.dumps({"error": RangerError(detail, trace=telemetry.traceparent()[3:35]).to_wire()})
        metrics.RPC.labels(f"{self._service}.{verb}", code).observe(time.perf_counter() - began)
        return reply

    async def _once(self, verb: str, caller: Caller, question: C, handler: CommandHandler[C]) -> Answer:
        with ledger.opened() as entries:
            try:
                return await self._carried_out(verb, caller, question, handler, entries)
            except Denied:
                names = (self._service, caller.tenant, caller.request_key)
                await decisions.deny(self._database, *names, entries, traceparent=caller.traceparent)
                raise

    async def _carried_out(
        self, verb: str, caller: Caller, question: C, handler: CommandHandler[C], entries: Sequence[ledger.Entry]
    ) -> Answer:
        digest = _digest(verb, caller, question)
        async with self._database.transaction(verb) as tx:
            # Two requests with one key at the same time: the second waits here and then finds the answer.
            turn = f"{caller.tenant}/{caller.request_key}"
            await narrow(tx, Sight.of(caller.principal, caller.tenant, changes=True), turn=turn)
            stored = await tx.fetchrow(_STORED, caller.tenant, caller.request_key)
            if stored is not None:
                return _stored_answer(stored["body_sha256"], stored["response"], digest)
            answer = await handler(tx, caller, question)
            stored_answer = _bounded(orjson.dumps(answer))
            command = Write(_ANSWERED, (caller.request_key, caller.tenant, verb, digest, stored_answer))
            await together.write(tx, [*decisions.writes(caller.tenant, caller.request_key, entries), command])
            crash_point("command_before_commit")
            return answer


class RpcClient:
    """Asks other services."""

    def __init__(self, bus: Bus, *, timeout: float) -> None:
        self._bus = bus
        self._timeout = timeout

    async def ask(
        self,
        service: str,
        verb: str,
        body: Mapping[str, Any],
        *,
        principal: Principal,
        tenant: str,
        request_key: str = "",
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The answer's content.

        Raises:
            RangerError: what the service refused with; `Unavailable` when nobody answered in time; `Misconfigured` when
                the bus's server does not let this process ask that.
        """
        request = {
            "principal": principal.to_wire(),
            "tenant": tenant,
            "request_key": request_key or new_id(),
            "body": body,
        }
        with telemetry.span(f"ask {service}.{verb}", kind=SpanKind.CLIENT):
            headers = {"traceparent": telemetry.traceparent()}
            try:
                message = await self._bus.nc.request(
                    f"rpc.{service}.{verb}", orjson.dumps(request), timeout=timeout or self._timeout, headers=headers
                )
            except NotPermitted as error:
                raise Misconfigured(
                    f"The bus lets this process not ask {error.subject}.",
                    fix="Compare the bus's users with `rangerctl nats permissions`.",
                    code="not_permitted",
                ) from None
            except (nats.errors.Error, OSError) as error:
                raise Unavailable(
                    f"{service} did not answer ({type(error).__name__}).",
                    fix="Repeat the request with the same idempotency key; `rangerctl status` shows what is down.",
                ) from None
        reply = orjson.loads(message.data)
        if "error" in reply:
            raise from_wire(reply["error"])
        content: dict[str, Any] = reply["ok"]
        return content


def _parse(body: type[C], data: bytes) -> tuple[Caller, C]:
    try:
        request = orjson.loads(data)
        caller = Caller(
            Principal.from_wire(request["principal"]),
            str(request["tenant"]),
            str(request["request_key"]),
            telemetry.traceparent(),
        )
        return caller, body.model_validate(request["body"])
    except ValidationError as error:
        raise InvalidInput(describe(error)) from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise InvalidInput("The request is not {principal, tenant, request_key, body}.") from None


async def answered(tx: Tx, caller: Caller, verb: str, request_key: str, question: BaseModel) -> Answer | None:
    """What the caller was answered to this command under this key, or would have been; None where it had no effect.

    For whoever has to know and must not ask again, which might take effect only now.
    """
    stored = await tx.fetchrow(_STORED, caller.tenant, request_key)
    if stored is None or bytes(stored["body_sha256"]) != _digest(verb, caller, question):
        return None
    answer: Answer = orjson.loads(stored["response"])
    return answer


def _digest(verb: str, caller: Caller, question: BaseModel) -> bytes:
    """By whom and what a command was: one key is for one of these."""
    asked = (verb, caller.principal.actor, question.model_dump_json())
    return hashlib.sha256("\0".join(asked).encode()).digest()


def _stored_answer(stored_digest: bytes, response: bytes, digest: bytes) -> Answer:
    if bytes(stored_digest) != digest:
        raise Conflict(
            "This request key was used before, with another request or by somebody else.",
            fix="Use a new idempotency key for a new request.",
            code="request_key_reused",
        )
    answer: Answer = orjson.loads(response)
    return answer


def _bounded(reply: bytes) -> bytes:
    if len(reply) > MAX_REPLY_BYTES:
        raise TooLarge(f"The answer is {len(reply)} bytes.", fix="Ask for fewer at a time.")
    return reply
