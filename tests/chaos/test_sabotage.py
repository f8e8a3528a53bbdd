"""The checker can say that the product is wrong: faults put into a running product, each caught by its invariant.

The faults are in `tests/support/sabotage`, none in the product. Those that leave the log broken for good come last.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from runbook_ranger.chaos.waiting import until
from runbook_ranger.chaos.watch import Watch
from runbook_ranger.chaos.work import CROWD, GUARDED, KEYED, TIMED, UNSAFE
from tests.chaos.saboteur import GRANTS_STAND_SECONDS, Saboteur, saboteur

pytestmark = [pytest.mark.chaos, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="rr-sabotage-", dir="/tmp"))
    found.chmod(0o711)
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(home: Path) -> AsyncIterator[Saboteur]:
    async with saboteur(home / "run") as found:
        yield found


async def test_without_a_fault_nothing_is_caught(lab: Saboteur) -> None:
    for kind in (KEYED, UNSAFE, CROWD, TIMED):
        lab.load.begin(kind)

    assert await lab.settled() == []
    assert await lab.violations() == []


@pytest.mark.parametrize(
    ("fault", "kind", "invariant"),
    [
        ("unsafe call repeated", UNSAFE, 5),
        ("fence forged", CROWD, 7),
        ("settled twice", CROWD, 9),
        ("timer fired twice", TIMED, 10),
        ("trace cut", CROWD, 14),
        ("inbox skipped", CROWD, 2),
        ("version skipped", CROWD, 3),
    ],
)
async def test_what_any_step_shows(lab: Saboteur, fault: str, kind: str, invariant: int) -> None:
    before = set(await lab.violations())
    with lab.committing(fault):
        lab.load.begin(kind)

        await lab.caught(invariant, before)


async def test_a_lock_that_is_released_before_the_verification(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("lock released early"):
        for _ in range(3):
            lab.load.begin(TIMED, resource="chaos/contended", ms=300)  # each holds it for more than a second

        await lab.caught(6, before)


async def test_a_kill_switch_that_nobody_heeds(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("kill switch ignored"):
        await lab.load.switch(engaged=True)
        lab.load.begin(CROWD)

        await lab.caught(7, before)
        await lab.load.switch(engaged=False)


async def test_a_grant_that_is_used_when_it_no_longer_stands(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("approval not bound"):
        await lab.load.switch(engaged=True)
        lab.load.grant_next()
        lab.load.begin(GUARDED)
        await until(lambda: "grant" in lab.load.done(), 20)
        await asyncio.sleep(GRANTS_STAND_SECONDS + 0.2)  # nobody tells that a grant has run out: it is seen at its use
        await lab.load.switch(engaged=False)

        await lab.caught(7, before)


async def test_an_unsafe_action_whose_worker_died_is_tried_again(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("unknown retried"):
        lab.place.crash("worker", "after_claim")
        lab.load.begin(UNSAFE)

        await lab.caught(8, before)


async def test_nobody_looks_for_leases_that_ran_out(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("sweeper off"):
        lab.place.crash("worker", "after_claim")
        lab.load.begin(CROWD)
        await until(lambda: not lab.place.order("worker").exists(), 20)
        await lab.place.until_ready()
        await asyncio.sleep(float(lab.place.settings["RR_LEASE_SECONDS"]))  # as long as it may rightly run

        await lab.caught(11, before, unsettled=True)


async def test_a_poison_that_vanishes(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("letter dropped"):
        await lab.poison("json")

        await lab.caught(12, before)


async def test_a_write_that_was_acknowledged_and_is_nowhere(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("write lost"):
        await lab.load.switch(engaged=True)

        await lab.caught(1, before)


async def test_a_process_that_does_not_answer(lab: Saboteur) -> None:
    before = set(await lab.violations())
    watch = Watch(lab.place)
    lab.looks = watch.looks
    with lab.committing("loop blocked"):
        watching = asyncio.create_task(watch.run())
        try:
            await lab.caught(13, before)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            lab.looks = []


async def test_a_message_that_is_acknowledged_before_it_is_applied(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("acknowledged before commit"):
        lab.place.crash("catalog", "consumer_before_commit")
        lab.load.begin(CROWD)
        await until(lambda: not lab.place.order("catalog").exists(), 20)
        await lab.place.until_ready()

        await lab.caught(2, before)


async def test_a_fact_that_is_marked_and_was_never_published(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("marked without publishing"):
        lab.load.begin(CROWD)

        await lab.caught(2, before)


async def test_a_chain_that_loses_a_link(lab: Saboteur) -> None:
    before = set(await lab.violations())
    with lab.committing("chain link skipped"):
        lab.load.begin(CROWD)

        await lab.caught(4, before)
