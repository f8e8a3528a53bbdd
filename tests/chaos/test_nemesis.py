"""A minute of faults drawn from a seed, and every named crash point once: all fourteen invariants hold at the end.

The seed is printed, and `RR_CHAOS_SEED` repeats a schedule; `rangerctl chaos --seed` does the same for longer.
"""

import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_ranger.chaos import report
from runbook_ranger.chaos.points import POINTS
from runbook_ranger.chaos.run import Order, run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(480)]
SECONDS = 60.0


@pytest.fixture
def home() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="rr-nemesis-", dir="/tmp"))
    found.chmod(0o711)
    yield found
    shutil.rmtree(found, ignore_errors=True)


def print_line(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def test_every_promise_is_kept_through_a_minute_of_faults_and_a_crash_at_every_point(home: Path) -> None:
    seed = int(os.environ.get("RR_CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    seconds = float(os.environ.get("RR_CHAOS_SECONDS") or SECONDS)
    sys.stderr.write(f"\nRR_CHAOS_SEED={seed}\n")
    order = Order(home / "run", seed, seconds, points=True)

    result = await run(order, print_line)

    for line in report.lines(result):
        print_line(line)
    assert result.violations == [], f"seed {seed}"
    assert {i.detail["point"] for i in result.evidence.injuries if i.kind == "crash" and i.met} == {
        p.name for p in POINTS
    }
    assert result.evidence.ledger.effects
    assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing of the run goes on after it
