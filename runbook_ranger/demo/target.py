"""The demo target over HTTP: `python -m runbook_ranger.demo.target --port 0 --dir D`.

Prints one JSON line with its port when it is up, on the loopback interface unless told otherwise. All state survives
kill -9.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import uvicorn
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_ranger.demo.alerter import Alerter
from runbook_ranger.demo.gate import Gate, GateMode
from runbook_ranger.demo.ingest import SLA_MS, Ingest
from runbook_ranger.demo.journal import Journal
from runbook_ranger.demo.operations import APPLY, APPLY_ONCE, REROUTE, RESTART, WARM, Operation, Operator

B = TypeVar("B", bound="Body")
Shard = Literal["primary", "standby"]
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Body(BaseModel):
    """Base of request bodies: no unknown names."""

    model_config = ConfigDict(extra="forbid")


class Latency(Body):
    """How slow a shard's storage is."""

    shard: Shard
    ms: Annotated[float, Field(ge=0, le=60_000)]


class Reroute(Body):
    """Where writes go; the standby when nothing is said."""

    to: Shard | None = None


class Warm(Body):
    """Whose caches are filled."""

    tenants: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)


class Restart(Body):
    """Nothing to say."""


class Apply(Body):
    """What is changed, and how long that takes."""

    resource: Annotated[str, Field(min_length=1, max_length=200)]
    ms: Annotated[float, Field(ge=0, le=60_000)] = 5


class Hold(Body):
    """Where calls are held, and how many of them (all, when nothing is said)."""

    mode: GateMode
    count: Annotated[int, Field(ge=1)] | None = None


class Tags(Body):
    """The target's tags, all of them."""

    tags: dict[str, str]


class ReportTo(Body):
    """Where the alerter posts, and what its alerts say besides."""

    url: str | None
    token: str = ""
    annotations: dict[str, str] = Field(default_factory=dict)


class Target:
    """The handlers over one service."""

    def __init__(self, ingest: Ingest, alerter: Alerter, effect_seconds: float) -> None:
        self.ingest = ingest
        self.alerter = alerter
        self.gate = Gate()
        self.operator = Operator(ingest, self.gate, effect_seconds)
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "ingest_storage_latency_seconds",
            "Storage latency of writes",
            ["shard"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._current = Gauge(
            "ingest_storage_latency_milliseconds", "Storage latency now", ["shard"], registry=self.registry
        )
        self._active = Gauge(
            "ingest_active_shard", "1 for the shard that takes writes", ["shard"], registry=self.registry
        )
        self._ledger = Gauge(
            "ingest_ledger_entries", "Entries of the ledger", ["kind", "endpoint"], registry=self.registry
        )

    def routes(self) -> list[Route]:
        """Everything that can be asked."""
        return [
            Route("/healthz", self.health),
            Route("/status", self.status),
            Route("/impact", self.impact),
            Route("/metrics", self.metrics),
            Route("/tags", self.tags),
            Route("/tags", self.set_tags, methods=["POST"]),
            Route("/ingest", self.write, methods=["POST"]),
            Route("/latency", self.set_latency, methods=["POST"]),
            Route("/reroute", self.operation(REROUTE, Reroute), methods=["POST"]),
            Route("/cache/warm", self.operation(WARM, Warm), methods=["POST"]),
            Route("/restart", self.operation(RESTART, Restart), methods=["POST"]),
            Route("/apply", self.operation(APPLY, Apply), methods=["POST"]),
            Route("/apply/once", self.operation(APPLY_ONCE, Apply), methods=["POST"]),
            Route("/ledger", self.ledger),
            Route("/gate", self.show_gate),
            Route("/gate", self.set_gate, methods=["POST"]),
            Route("/alerter", self.set_alerter, methods=["POST"]),
        ]

    async def health(self, _request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    async def status(self, _request: Request) -> Response:
        """Active shard, latencies, cache, restarts."""
        return JSONResponse(self.ingest.status())

    async def impact(self, _request: Request) -> Response:
        """Who is affected while the active shard is slow."""
        tenants = [] if self.ingest.healthy else ["default"]
        return JSONResponse({"tenants": tenants, "count": len(tenants), "sla_ms": SLA_MS})

    async def metrics(self, _request: Request) -> Response:
        """Prometheus text."""
        for shard, ms in self.ingest.latency.items():
            self._current.labels(shard).set(ms)
            self._active.labels(shard).set(shard == self.ingest.active)
        for kind, counts in self.ingest.ledger.totals().items():
            for endpoint, count in counts.items():
                self._ledger.labels(kind, endpoint).set(count)
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def tags(self, _request: Request) -> Response:
        """What the owner of this target permits."""
        return JSONResponse(self.ingest.tags)

    async def set_tags(self, request: Request) -> Response:
        """Replace the tags."""
        tags = await _parsed(request, Tags)
        self.ingest.record("tags", tags=tags.tags)
        return JSONResponse(self.ingest.tags)

    async def write(self, _request: Request) -> Response:
        """One write to the active shard; takes as long as its storage does."""
        shard = self.ingest.active
        ms = self.ingest.latency[shard]
        await asyncio.sleep(ms / 1000)
        self._seconds.labels(shard).observe(ms / 1000)
        return JSONResponse({"shard": shard, "ms": ms})

    async def set_latency(self, request: Request) -> Response:
        """Make a shard slow or quick."""
        latency = await _parsed(request, Latency)
        self.ingest.record("latency", shard=latency.shard, ms=latency.ms)
        return JSONResponse(self.ingest.status())

    def operation(self, operation: Operation, model: type[Body]) -> Callable[[Request], Awaitable[Response]]:
        """The handler of a mutating endpoint."""

        async def handle(request: Request) -> Response:
            body = (await _parsed(request, model)).model_dump(exclude_none=True)
            key, fence = request.headers.get("idempotency-key"), request.headers.get("rr-fence", "")
            number = int(fence) if fence.isascii() and fence.isdecimal() else None
            trace = request.headers.get("traceparent", "")[:55]
            answer, replayed = await self.operator.perform(operation, body, key, number, trace)
            headers = {"Idempotent-Replay": "true"} if replayed else None
            return JSONResponse(answer.body, answer.status, headers)

        return handle

    async def ledger(self, _request: Request) -> Response:
        """Every call and every effect, and how many of each."""
        return JSONResponse(asdict(self.ingest.ledger) | {"totals": self.ingest.ledger.totals()})

    async def show_gate(self, _request: Request) -> Response:
        """The gate's mode and the numbers of the calls that it holds."""
        return JSONResponse({"mode": self.gate.mode, "held": len(self.gate.held), "calls": self.gate.held})

    async def set_gate(self, request: Request) -> Response:
        """Hold calls or let them through."""
        hold = await _parsed(request, Hold)
        self.gate.set(hold.mode, hold.count)
        return await self.show_gate(request)

    async def set_alerter(self, request: Request) -> Response:
        """Say where notices go."""
        to = await _parsed(request, ReportTo)
        self.alerter.report_to(to.url, to.token, to.annotations)
        return JSONResponse({"url": to.url})

    async def probe(self, interval_seconds: float) -> None:
        """A write's latency is observed at every interval, so that the histogram moves without traffic."""
        while True:
            self._seconds.labels(self.ingest.active).observe(self.ingest.latency[self.ingest.active] / 1000)
            await asyncio.sleep(interval_seconds)


async def _parsed(request: Request, model: type[B]) -> B:
    return model.model_validate_json(await request.body() or b"{}")


async def _invalid(_request: Request, error: Exception) -> Response:
    problems = error.errors(include_input=False, include_url=False) if isinstance(error, ValidationError) else []
    return JSONResponse({"error": "invalid", "problems": [str(problem["msg"]) for problem in problems]}, 422)


def build(target: Target, interval_seconds: float, announce: Callable[[], None]) -> Starlette:
    """The application; `announce` is called when it is up."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        loops = [
            asyncio.ensure_future(target.alerter.run(interval_seconds)),
            asyncio.ensure_future(target.probe(interval_seconds)),
        ]
        announce()
        yield
        for loop in loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    return Starlette(routes=target.routes(), lifespan=lifespan, exception_handlers={ValidationError: _invalid})


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="runbook_ranger.demo.target", description="an ingest service to remediate")
    parser.add_argument("--host", default="127.0.0.1", help="the interface to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--url", default="", help="how others reach it; by default by host and port")
    parser.add_argument("--dir", type=Path, required=True, help="where the journal is kept")
    parser.add_argument("--alert-url", default=None, help="where Alertmanager webhooks are posted")
    parser.add_argument("--alert-token", default="", help="bearer token of the webhook")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between looks at the latency")
    parser.add_argument("--resend", type=float, default=30.0, help="seconds until a firing alert is repeated")
    parser.add_argument("--effect-ms", type=float, default=5.0, help="how long an effect takes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Serve until a signal."""
    options = parse(sys.argv[1:] if argv is None else argv)
    listener = socket.create_server((options.host, options.port))
    url = options.url or f"http://{options.host}:{listener.getsockname()[1]}"
    journal = Journal(options.dir / "target.jsonl")
    ingest = Ingest(journal)
    alerter = Alerter(ingest, url, resend_seconds=options.resend)
    alerter.report_to(options.alert_url, options.alert_token)

    def announce() -> None:
        line = {"port": listener.getsockname()[1], "url": url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    app = build(Target(ingest, alerter, options.effect_ms / 1000), options.interval, announce)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        journal.close()


if __name__ == "__main__":
    main()
