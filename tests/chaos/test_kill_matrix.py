"""Any process killed at any moment of a step: it completes after the restart, and nothing is done twice.

An unsafe step is never called a second time: whoever dies after its claim leaves an unknown, which a person decides.
A keyed one may be called twice and takes effect once. A crash at each named point is `test_nemesis.py`'s.
"""

import signal
from typing import Any

import pytest

from tests.chaos.lab import HOLD_AFTER, HOLD_BEFORE, KEYED, OPEN, UNSAFE, Lab
from tests.support.eventually import eventually
from tests.support.stack import Case

pytestmark = [pytest.mark.chaos, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CLAIMED, ACTED, SETTLED = "between claim and effect", "between effect and commit", "after the commit"
MOMENTS = (CLAIMED, ACTED, SETTLED)
SERVICES = ("incident", "catalog", "executor", "timeline", "gateway", "approvals")
VICTIMS = (SERVICES, ("nats",), ("valkey",), ("postgres",))
KILLS = [
    *(pytest.param(moment, names, id=f"{moment}-{names[0]}") for moment in MOMENTS for names in VICTIMS),
    pytest.param(ACTED, ("supervisor",), id=f"{ACTED}-supervisor"),  # takes all of the others with it
]
KINDS = pytest.mark.parametrize("kind", [KEYED, UNSAFE])


@pytest.mark.parametrize(("moment", "names"), KILLS)
async def test_killed_processes_cost_nothing(lab: Lab, moment: str, names: tuple[str, ...]) -> None:
    case = lab.case(KEYED)
    if moment == SETTLED:
        await case.fire()
        await case.reaches(phase="verify")
        await kill(lab, names)
    else:
        await lab.hold(HOLD_BEFORE if moment == CLAIMED else HOLD_AFTER)
        await case.fire()
        await lab.held()
        await kill(lab, names)
        await lab.hold(OPEN)

    await completes(case)

    calls, effects = await lab.count(case)
    assert effects == 1
    assert calls == 1 or names[0] in {"postgres", "supervisor"}, calls  # those take the lease with them
    await lab.stack.settled()


@KINDS
@pytest.mark.parametrize("mode", [HOLD_BEFORE, HOLD_AFTER])
async def test_a_worker_killed_while_its_call_is_under_way(lab: Lab, mode: str, kind: str) -> None:
    case = lab.case(kind)
    await lab.hold(mode, count=1)
    await case.fire()
    await lab.held()

    await lab.stack.kill(await case.worker())
    if kind == UNSAFE:
        await decided(case)
    else:
        await case.reaches(phase="verify")
    await lab.hold(OPEN)  # what was held goes on at the target, with nobody to hear of it
    await completes(case)

    calls, effects = await lab.count(case)
    assert (calls, effects) == (1 if kind == UNSAFE else 2, 1)
    await lab.stack.settled()


@KINDS
async def test_a_worker_that_stands_still_past_its_lease_changes_nothing_when_it_goes_on(lab: Lab, kind: str) -> None:
    case = lab.case(kind)
    await lab.hold(HOLD_AFTER, count=1)
    await case.fire()
    await lab.held()
    worker = await case.worker()

    lab.stack.send(worker, signal.SIGSTOP)
    try:
        if kind == UNSAFE:
            await case.reaches(blocked_reason="unknown")
        else:
            await case.reaches(phase="verify")
        await lab.hold(OPEN)
    finally:
        lab.stack.send(worker, signal.SIGCONT)
    if kind == UNSAFE and (await case.show())["blocked_reason"] == "unknown":
        await decided(case)  # unless the late answer came first
    await completes(case)

    assert await lab.count(case) == (1 if kind == UNSAFE else 2, 1)
    await lab.stack.settled()


async def kill(lab: Lab, names: tuple[str, ...]) -> None:
    """All of them at once; returns when everything has been started again and is ready."""
    if len(names) == 1:
        return await lab.stack.kill(*names)
    pids = {name: lab.stack.pid(name) for name in names}
    for name in names:
        lab.stack.send(name, signal.SIGKILL)
    for name, pid in pids.items():
        await lab.stack.back(name, pid)
    return None


async def decided(case: Case) -> None:
    """Wait for the unknown, and say that it took effect."""
    shown = await case.reaches(blocked_reason="unknown")
    assert [lock["state"] for lock in shown["locks"]] in ([], ["suspect"])
    body = {"decision": "succeeded", "rationale": "The target's ledger shows it."}
    try:
        await case.stack.post(f"/executions/{case.execution}/steps/act/decide", body)
    except AssertionError:
        assert (await case.show())["blocked_reason"] is None


async def completes(case: Case) -> dict[str, Any]:
    """Wait for the verification, end the alert, and wait for the end of the execution."""
    await case.reaches(phase="verify")
    await case.resolve()
    shown = await case.reaches(state="completed")
    assert shown["reason"] == "alert_resolved"
    assert shown["locks"] == []
    await eventually(case.stack.ready, timeout=60)
    return shown
