"""Health of a process on a loopback port: `/healthz` (the loop turns), `/readyz` (every dependency), `/metrics`."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from libs.common.rounds import until_next
from libs.common.telemetry import log

EXIT_STALLED: Final = 70
CHECK_SECONDS: Final = 2.5
TICK_SECONDS: Final = 1.0

Check = Callable[[], Awaitable[str | None]]
"""Returns when the dependency is well, maybe with what there is to say of it; raises with what is wrong otherwise."""


class Server(uvicorn.Server):
    """uvicorn inside a loop of ours: signals belong to the process, not to the server."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def leave(self) -> None:
        """Take no new requests, and end once those under way are answered."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Once a second, for the date in answers, or when it is to leave. uvicorn's own ten looks a second would be
        most of what an idle process does.
        """
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(until_next(TICK_SECONDS) if self.config.date_header else None):
                    await self._leaving.wait()


class Health:
    """What a process says of itself. Dependencies are asked anew at each look, all at once, each within 2.5 s."""

    def __init__(self, service: str, instance: str) -> None:
        self._service = service
        self._instance = instance
        self._checks: dict[str, Check] = {}
        self.starting: str | None = "starting"

    def add(self, name: str, check: Check) -> None:
        """Ask `check` at each look at `/readyz`."""
        self._checks[name] = check

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether everything answers, and what each dependency said, with latencies in milliseconds."""
        names = list(self._checks)
        results = await asyncio.gather(*(_look(self._checks[name]) for name in names))
        checks = dict(zip(names, results, strict=True))
        if self.starting is not None:
            checks["process"] = {"status": "starting", "detail": self.starting}
        good = all(result["status"] == "ok" for result in checks.values())
        return good, {
            "service": self._service,
            "instance": self._instance,
            "status": "ready" if good else "not ready",
            "checks": checks,
        }

    async def app(self, scope: MutableMapping[str, Any], _receive: Any, send: Any) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/healthz":
            await _reply(send, 200, {"status": "alive"})
        elif scope["path"] == "/readyz":
            good, report = await self.ready()
            await _reply(send, 200 if good else 503, report)
        elif scope["path"] == "/metrics":
            await _send(send, 200, CONTENT_TYPE_LATEST, generate_latest())
        else:
            await _reply(send, 404, {"error": "there are /healthz, /readyz and /metrics"})


def server(app: Any, *, host: str, port: int, dated: bool = True) -> Server:
    """A quiet HTTP server for `app`; port 0 takes a free one. Without dates in answers it never looks at the clock."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=dated,
    )
    return Server(config)


def watch_loop(loop: asyncio.AbstractEventLoop, limit_seconds: float) -> None:
    """End the process when its loop stands still for `limit_seconds`: a frozen process must not look alive.

    Looks closely, once a second, only after the loop has missed a beat, which it does long before the limit.
    """
    beat, between = [time.monotonic()], min(TICK_SECONDS, limit_seconds / 4)
    calm, close = max(TICK_SECONDS, limit_seconds / 6), TICK_SECONDS

    def tick() -> None:
        beat[0] = time.monotonic()
        loop.call_later(until_next(between), tick)

    def watch() -> None:
        last, asleep = time.monotonic(), close
        while True:
            time.sleep(asleep)
            now = time.monotonic()
            if now - last > asleep + limit_seconds / 2:
                beat[0] = now  # the whole process was stopped, not its loop
            last, asleep = now, calm if now - beat[0] < 2 * between else close
            if now - beat[0] > limit_seconds:
                log.critical("loop_stalled", seconds=round(now - beat[0]))
                os._exit(EXIT_STALLED)

    loop.call_soon(tick)
    threading.Thread(target=watch, name="watchdog", daemon=True).start()


async def _look(check: Check) -> Mapping[str, Any]:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            said = await check()
    except Exception as error:  # noqa: BLE001 — whatever is wrong is the answer
        return {"status": "down", "latency_ms": _ms(began), "detail": f"{type(error).__name__}: {error}"[:300]}
    return {"status": "ok", "latency_ms": _ms(began), **({"detail": said} if said else {})}


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)


async def _reply(send: Any, status: int, body: Mapping[str, Any]) -> None:
    await _send(send, status, "application/json", orjson.dumps(body))


async def _send(send: Any, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
