"""Every bench runs on real servers, in sizes that only show that it works, and proves what it timed."""

from __future__ import annotations

import pytest

from bench import proof
from bench.catalogue import BENCHES, measure
from bench.driver import Driver
from bench.errors import NotInTime, WorkWrong
from bench.options import Options
from bench.product import Product
from bench.tally import Tally

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]  # stacks start slowly on a machine that is busy

TINY = Options(tiny=True)
WITHOUT_A_LOG = {"policy", "lists"}
"""Benches of parts that tell nothing."""


@pytest.mark.parametrize("module", BENCHES.values(), ids=BENCHES)
def test_a_bench_has_figures_and_has_verified_its_work(module: str) -> None:
    report = measure(module, TINY)

    assert report.figures
    assert all(value >= 0 for figure in report.figures for value in (*figure.values, *figure.limit))
    assert all(report.verified.values())
    assert report.verified.get("leaves", 0) > 0 or report.bench in WITHOUT_A_LOG


async def test_work_that_is_wrong_is_noticed() -> None:
    with Product(TINY) as product:
        product.publish("broken")
        async with Driver(product.urls, "bench_broken", ends=False) as driver:
            await driver.some(2, in_flight=2)
        await proof.settled(product)

        with pytest.raises(WorkWrong, match="'otherwise': 2"):
            await proof.steps_done(product, ["bench-broken"], 2, 5)
        with pytest.raises(WorkWrong, match="executions"):
            await proof.steps_done(product, ["bench-broken"], 3, 5)
        async with Tally(product) as tally:
            await tally.rows("UPDATE timeline.payload SET payload = 'x' WHERE index = 3")
            with pytest.raises(WorkWrong, match="does not match its commitment"):
                await proof.log_verifies(product)
            with pytest.raises(NotInTime):
                await tally.reaches("executions", "SELECT count(*) FROM executor.execution", 3, seconds=0.3)
