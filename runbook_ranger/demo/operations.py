"""The calls that change the target: how each one treats keys, fences and the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import orjson

from runbook_ranger.demo.gate import Gate, GateMode
from runbook_ranger.demo.ingest import Answer, Ingest, now


@dataclass(frozen=True, slots=True)
class Operation:
    """One mutating endpoint. `keyed` ones honour Idempotency-Key and Rr-Fence and refuse calls without them.

    Without a resource of its own, the body names one and how long the effect takes; then only the repetitions of one
    key wait for each other, so that the ledger shows whether callers kept out of each other's way.
    """

    endpoint: str
    resource: str
    keyed: bool
    change: Callable[[Ingest, Mapping[str, Any]], tuple[dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Call:
    """What arrived."""

    number: int
    endpoint: str
    resource: str
    key: str | None
    fence: int | None
    request: str
    trace: str = ""

    def entry(self) -> dict[str, Any]:
        """The fields that every ledger entry of this call carries."""
        return {
            "call": self.number,
            "endpoint": self.endpoint,
            "resource": self.resource,
            "key": self.key,
            "fence": self.fence,
            **({"trace": self.trace} if self.trace else {}),
        }


def _reroute(ingest: Ingest, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    to = body.get("to") or ingest.standby
    return {"active": to}, {"active": to, "previous": ingest.active, "changed": to != ingest.active}


def _warm(ingest: Ingest, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    tenants = sorted(set(body.get("tenants") or ("default",)))
    return {"warm": tenants}, {"warmed": tenants, "shard": ingest.active}


def _restart(ingest: Ingest, _body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"restart": True}, {"restarts": ingest.restarts + 1}


def _apply(_ingest: Ingest, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"applied": body["resource"]}


REROUTE = Operation("/reroute", "ingest/route", keyed=True, change=_reroute)
WARM = Operation("/cache/warm", "ingest/cache", keyed=True, change=_warm)
RESTART = Operation("/restart", "ingest/process", keyed=False, change=_restart)
APPLY = Operation("/apply", "", keyed=True, change=_apply)
APPLY_ONCE = Operation("/apply/once", "", keyed=False, change=_apply)


class Operator:
    """Carries operations out, one at a time a resource, each call and effect journalled before its answer."""

    def __init__(self, ingest: Ingest, gate: Gate, effect_seconds: float) -> None:
        self._ingest = ingest
        self._gate = gate
        self._effect_seconds = effect_seconds
        self._locks: dict[str, asyncio.Lock] = {}
        self._begun: dict[str, int] = {}

    async def perform(
        self, operation: Operation, body: Mapping[str, Any], key: str | None, fence: int | None, trace: str = ""
    ) -> tuple[Answer, bool]:
        """The answer, and whether it is an older one given again; `trace` is the caller's, kept in the ledger.

        The gate stands outside the lock: while one call is held before its effect, others overtake it, and a held
        call with an older fence is then refused.
        """
        call = Call(
            number=len(self._ingest.ledger.calls) + 1,
            endpoint=operation.endpoint,
            resource=operation.resource or str(body["resource"]),
            key=key,
            fence=fence,
            request=orjson.dumps(dict(body), option=orjson.OPT_SORT_KEYS).decode(),
            trace=trace,
        )
        self._ingest.record("call", **call.entry(), at=now())
        if operation.keyed and (key is None or fence is None):
            return self._refuse(call, "headers", 400, "Idempotency-Key and Rr-Fence are required"), False
        await self._gate.pass_point(GateMode.HOLD_BEFORE_EFFECT, call.number)
        async with self._turn(operation, call):
            answer, replayed = await self._decide(operation, call, body)
        await self._gate.pass_point(GateMode.HOLD_AFTER_EFFECT, call.number)
        return answer, replayed

    def _turn(self, operation: Operation, call: Call) -> AbstractAsyncContextManager[object]:
        if operation.resource:
            return self._locks.setdefault(call.resource, asyncio.Lock())
        return self._locks.setdefault(f"key {call.key}", asyncio.Lock()) if operation.keyed else nullcontext()

    def _stale(self, call: Call) -> bool:
        """Whether a newer holder of the resource's lock has been here, or is at work."""
        fence = call.fence or 0
        return fence < self._begun.get(call.resource, fence) or self._ingest.stale(call.resource, fence)

    async def _decide(self, operation: Operation, call: Call, body: Mapping[str, Any]) -> tuple[Answer, bool]:
        if not operation.keyed:
            return await self._effect(operation, call, body), False
        if self._stale(call):
            return self._refuse_old(call), False
        before = self._ingest.answered(call.endpoint, call.key or "")
        if before is None:
            return await self._effect(operation, call, body), False
        request, answer = before
        if request != call.request:
            return self._refuse(call, "key", 422, "this Idempotency-Key belongs to another request"), False
        self._ingest.record("replay", **call.entry(), at=now())
        return answer, True

    async def _effect(self, operation: Operation, call: Call, body: Mapping[str, Any]) -> Answer:
        start = now()
        if operation.keyed:
            self._begun[call.resource] = max(call.fence or 0, self._begun.get(call.resource, 0))
        change, told = operation.change(self._ingest, body)
        await asyncio.sleep(body["ms"] / 1000 if "ms" in body else self._effect_seconds)
        if operation.keyed and self._stale(call):
            return self._refuse_old(call)
        answer = Answer(200, told)
        self._ingest.record(
            "effect",
            **call.entry(),
            start=start,
            end=now(),
            change=change,
            request=call.request,
            status=answer.status,
            body=answer.body,
        )
        return answer

    def _refuse_old(self, call: Call) -> Answer:
        return self._refuse(call, "fence", 409, "a newer fence has been seen for this resource")

    def _refuse(self, call: Call, reason: str, status: int, message: str) -> Answer:
        self._ingest.record("refused", **call.entry(), at=now(), reason=reason)
        return Answer(status, {"error": reason, "message": message})
