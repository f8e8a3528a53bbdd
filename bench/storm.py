"""A storm: two senders report the same few problems again and again, one on the bus, one by webhook."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from bench import proof
from bench.driver import alert, eventually
from bench.figures import Figure, Report
from bench.http import load, request
from bench.options import Options
from bench.processes import anonymous_mb
from bench.product import ALONE, Product
from bench.sending import group, publish
from bench.tally import Tally
from libs.common.contracts.alert import SUBJECT_EVENT
from libs.common.contracts.choreography import INGRESS
from libs.common.ids import new_id

NAME: Final = "storm"
ALERT: Final = "bench_storm"
PROBLEMS: Final = 50
CONNECTIONS: Final = 4
GOAL: Final = 5000.0
GOAL_GROWTH_MB: Final = 5.0
BARE: Final = "BARE"
LIMIT: Final = "bare publishes"
SERVICES: Final = ("gateway", "incident", "timeline", "executor", "catalog", "approvals")
CASES: Final = tuple(f"{ALERT}-{number}" for number in range(PROBLEMS))
_HEARD: Final = "SELECT coalesce(sum(occurrences), 0) FROM incident.alert"
_INCIDENTS: Final = "SELECT count(*) FROM incident.incident"


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as product:
        options.measured(product.pids())
        return asyncio.run(_Bench(options, product).measure())


class _Bench:
    def __init__(self, options: Options, product: Product) -> None:
        self._options, self._product = options, product
        self._rounds = options.pick(5, 3, 1)
        self._each = options.pick(20_000, 10_000, 200)

    async def measure(self) -> Report:
        client = await self._product.urls.bus(allow_reconnect=False)
        js = client.jetstream(publish_async_max_pending=4000)
        await js.add_stream(StreamConfig(name=BARE, subjects=["bare"]))
        try:
            async with Tally(self._product) as tally:
                rates, bare, memory = await self._storm(js, tally)
                sent = self._each * (self._rounds + 1)
                proof.expect("incidents", await tally.number(_INCIDENTS), PROBLEMS)
                proof.expect("reports that were counted", await tally.number(_HEARD), sent)
        finally:
            await client.close()
        await proof.settled(self._product)
        growth = {name: round(memory[-1][name] - before, 1) for name, before in memory[0].items()}
        figures = (
            Figure("alerts of 50 problems, two senders", "alerts/s", rates, goal=GOAL, limit=bare, limit_name=LIMIT),
            Figure("growth of the services", "MB", (sum(growth.values()),), lower_is_better=True, goal=GOAL_GROWTH_MB),
        )
        verified = {"alerts": sent, "incidents": PROBLEMS, **await proof.log_verifies(self._product)}
        return Report(NAME, figures, verified, notes={"growth_mb": growth, "alerts_a_round": self._each})

    async def _storm(
        self, js: JetStreamContext, tally: Tally
    ) -> tuple[tuple[float, ...], tuple[float, ...], list[dict[str, float]]]:
        """Rates of the product and of bare publishes in turns, and the memory after each round; the first warms up."""
        rates, bare, memory = [], [], []
        for number in range(self._rounds + 1):
            began = time.perf_counter()
            await asyncio.gather(self._on_the_bus(js), self._by_webhook())
            await self._worked_off(js)
            rates.append(self._each / (time.perf_counter() - began))
            wanted = self._each * (number + 1)
            proof.expect("reports that were counted", await tally.number(_HEARD), wanted)
            began = time.perf_counter()
            await publish(js, "bare", self._bodies(self._each))
            bare.append(self._each / (time.perf_counter() - began))
            memory.append(self._memory())
            self._options.tell(f"storm: round {number} of {self._rounds}: {rates[-1]:,.0f} alerts/s")
        return tuple(rates[1:]), tuple(bare[1:]), memory

    async def _on_the_bus(self, js: JetStreamContext) -> None:
        await publish(js, SUBJECT_EVENT, self._bodies(self._each // 2))

    def _bodies(self, count: int) -> list[bytes]:
        known = [alert(ALERT, case) for case in CASES]
        return [known[number % PROBLEMS] for number in range(count)]

    async def _by_webhook(self) -> None:
        """As Alertmanager does: all problems in one post, again and again."""
        address = self._product.address
        body = group(ALERT, CASES)
        posts = self._each // 2 // PROBLEMS

        def make() -> bytes:
            headers = {"Authorization": f"Bearer {address.token}", "Idempotency-Key": new_id()}
            return request("POST", "/webhooks/alertmanager", headers, body)

        connections = min(CONNECTIONS, posts)
        await load(address.url, make, connections=connections, seconds=0, status=202, least=posts // connections)

    async def _worked_off(self, js: JetStreamContext) -> None:
        """Wait until the incident service has acknowledged all that was posted."""

        async def quiet() -> bool:
            info = await js.consumer_info(INGRESS, "incident")
            return not info.num_pending and not info.num_ack_pending

        await eventually("every alert is heard", quiet, seconds=300, every=0.02)

    def _memory(self) -> dict[str, float]:
        pids = self._product.pids()
        return {name: anonymous_mb(pids[name], children=name not in ALONE) for name in SERVICES}
