"""Answers of the gateway under load: a list out of many incidents, one of them whole, a new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from bench import proof
from bench.errors import WorkWrong
from bench.figures import Figure, Report, percentile
from bench.http import Connection, Load, load, request
from bench.limits.hello import hello
from bench.options import Options
from bench.product import Product
from bench.sending import open_incidents
from bench.tally import Tally
from libs.common.ids import new_id

NAME: Final = "api"
ALERT: Final = "bench_listed"
CONNECTIONS: Final = 8
PAGE: Final = 50
GOAL_LIST_P95: Final = 50.0
LIMIT: Final = "a bare hello"
_INCIDENTS: Final = "SELECT count(*) FROM incident.incident"
_OWN: Final = "SELECT count(*) FROM incident.incident WHERE fingerprint = ''"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request, made anew each time, and what it is meant to take."""

    name: str
    status: int
    make: Callable[[], bytes]
    goal_p95: float | None = None


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as product, hello() as bare:
        options.measured(product.pids())
        return asyncio.run(_measure(options, product, bare))


async def _measure(options: Options, product: Product, bare: str) -> Report:
    count = options.pick(10_000, 10_000, PAGE + 10)
    async with Tally(product) as tally:
        await _fill(product, tally, count)
        kinds = await _kinds(product, count)
        found: dict[str, list[Load]] = {}
        rounds, seconds = options.pick(5, 3, 1), options.pick(5.0, 2.0, 0.1)
        for number in range(rounds + 1):
            for kind in kinds:
                url = bare if kind.name == LIMIT else product.address.url
                one = await load(url, kind.make, connections=CONNECTIONS, seconds=seconds, status=kind.status)
                found.setdefault(kind.name, []).append(one)
            options.tell(f"api: round {number} of {rounds}{'' if number else ', which warms up'}")
        made = sum(len(one.times) for one in found["POST incident"])
        proof.expect("incidents opened by hand", await tally.number(_OWN), made)
        proof.expect("incidents altogether", await tally.number(_INCIDENTS), count + made)
    await proof.settled(product)
    measured = {name: loads[1:] for name, loads in found.items()}
    figures = [figure for kind in kinds if kind.name != LIMIT for figure in _figures(kind, measured)]
    verified = {"incidents": count + made, **await proof.log_verifies(product)}
    return Report(NAME, tuple(figures), verified, notes={"connections": CONNECTIONS})


async def _fill(product: Product, tally: Tally, count: int) -> None:
    client = await product.urls.bus(allow_reconnect=False)
    try:
        await open_incidents(client.jetstream(publish_async_max_pending=4000), ALERT, count)
    finally:
        await client.close()
    await tally.reaches("incidents", _INCIDENTS, count, seconds=600)
    await proof.settled(product, seconds=300)


async def _kinds(product: Product, count: int) -> list[Kind]:
    """The requests; the pages that are asked for lie all through the list, which is walked once to know them."""
    headers = {"Authorization": f"Bearer {product.address.token}", "Accept": "application/json"}
    known = await _walk(product.address.url, headers, count)
    pages = [
        request("GET", f"/incidents?limit={PAGE}&after={known[at]}", headers) for at in range(0, count - PAGE, PAGE)
    ]
    single = [request("GET", f"/incidents/{known[at]}", headers) for at in range(0, count, 7)]
    new = orjson.dumps({"title": "Opened by hand", "severity": "low", "description": "by a bench"})

    def post() -> bytes:
        return request("POST", "/incidents", {**headers, "Idempotency-Key": new_id()}, new)

    return [
        Kind("GET list", 200, _turns(pages), GOAL_LIST_P95),
        Kind("GET incident", 200, _turns(single)),
        Kind("POST incident", 201, post),
        Kind(LIMIT, 200, _turns([request("GET", "/", headers)])),
    ]


async def _walk(url: str, headers: dict[str, str], count: int) -> list[str]:
    """Every incident's id, page by page.

    Raises:
        WorkWrong: the list does not hold each incident once.
    """
    known: list[str] = []
    after = ""
    async with Connection(url) as connection:
        while True:
            status, body = await connection.ask(request("GET", f"/incidents?limit={PAGE}{after}", headers))
            page = orjson.loads(body)
            if status != 200:
                raise WorkWrong(f"the list is answered with {status}")
            known += [item["incident_id"] for item in page["items"]]
            if not page["next"]:
                break
            after = f"&after={page['next']}"
    proof.expect("incidents in the list", (len(known), len(set(known))), (count, count))
    return known


def _turns(requests: list[bytes]) -> Callable[[], bytes]:
    turn = 0

    def take() -> bytes:
        nonlocal turn
        turn += 1
        return requests[turn % len(requests)]

    return take


def _figures(kind: Kind, found: dict[str, list[Load]]) -> list[Figure]:
    def p95(name: str) -> tuple[float, ...]:
        return tuple(percentile(one.times, 0.95) * 1000 for one in found[name])

    def rates(name: str) -> tuple[float, ...]:
        return tuple(one.rate for one in found[name])

    latency, rate = f"{kind.name}, p95", f"{kind.name}, {CONNECTIONS} connections"
    slow = Figure(latency, "ms", p95(kind.name), True, kind.goal_p95, None, p95(LIMIT), LIMIT)  # noqa: FBT003
    return [slow, Figure(rate, "requests/s", rates(kind.name), limit=rates(LIMIT), limit_name=LIMIT)]
