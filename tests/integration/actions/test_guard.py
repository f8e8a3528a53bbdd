"""Nothing outlives the step: not when the worker is killed, not when it is frozen, not when the guard is killed."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from libs.actions import ActionContext, Lease, invoke
from libs.actions.shell_run import ShellRun
from tests.support.eventually import eventually
from tests.support.processes import alive, parent

ROOT = Path(__file__).resolve().parents[3]
# The command, a child, a grandchild in a session of its own, and one that ignores every polite signal.
FAMILY = (
    'sleep 300 & echo $! >> "$0"; (setsid sleep 300 & echo $! >> "$0");'
    ' sh -c "trap \'\' TERM INT HUP; sleep 300; :" & echo $! >> "$0"; echo $$ >> "$0"; wait'
)
Start = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, list[int]]]]


@pytest.fixture
async def start_worker(tmp_path: Path) -> AsyncIterator[Start]:
    workers: list[asyncio.subprocess.Process] = []

    async def start(lease_until: float = 1e9) -> tuple[asyncio.subprocess.Process, list[int]]:
        pids = tmp_path / "pids"
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.shell_worker", "300", str(lease_until), "sh", "-c", FAMILY,
            str(pids), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        workers.append(worker)
        await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 4)
        return worker, [int(pid) for pid in pids.read_text().split()]

    yield start
    for worker in workers:
        with suppress(ProcessLookupError):
            worker.send_signal(signal.SIGCONT)
            worker.kill()
        await worker.communicate()


async def test_a_killed_worker_takes_the_command_and_its_grandchildren_with_it(start_worker: Start) -> None:
    worker, pids = await start_worker()
    guard = parent(pids[-1])
    assert all(alive(pid) for pid in pids)

    worker.kill()

    await eventually(lambda: not any(alive(pid) for pid in (*pids, guard)), timeout=10)


async def test_a_frozen_worker_cannot_keep_a_command_beyond_the_lease(start_worker: Start) -> None:
    until = time.monotonic() + 8
    worker, pids = await start_worker(until)

    worker.send_signal(signal.SIGSTOP)

    await eventually(lambda: not any(alive(pid) for pid in pids), timeout=10)
    assert time.monotonic() < until
    worker.send_signal(signal.SIGCONT)
    said, _ = await worker.communicate()
    assert said == b"lease_lost\n"


async def test_a_guard_that_is_told_to_end_stops_everything_first(start_worker: Start) -> None:
    worker, pids = await start_worker()

    os.kill(parent(pids[-1]), signal.SIGTERM)

    await eventually(lambda: not any(alive(pid) for pid in pids), timeout=10)
    said, _ = await worker.communicate()
    assert said == b"stopped\n"


async def test_a_killed_guard_is_noticed_and_its_command_dies(
    context: Callable[..., ActionContext], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = 'sleep 300 & echo $$ > "$0.new"; mv "$0.new" "$0"; wait'
    running = asyncio.ensure_future(invoke(ShellRun(), {"argv": ["sh", "-c", script, str(pid_file)]}, context()))
    await eventually(pid_file.exists)
    command = int(pid_file.read_text())

    os.kill(parent(command), signal.SIGKILL)

    result = await running
    assert (result.error_code, result.effect_possible) == ("guard_lost", True)
    assert not alive(command)


async def test_a_worker_task_that_is_cancelled_ends_only_after_the_command(
    context: Callable[..., ActionContext], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 300'
    running = asyncio.ensure_future(invoke(ShellRun(), {"argv": ["sh", "-c", script, str(pid_file)]}, context()))
    await eventually(pid_file.exists)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(int(pid_file.read_text()))


async def test_a_cancellation_while_the_guard_starts_leaves_nothing(
    context: Callable[..., ActionContext], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.03):
        lease = Lease()
        script = 'echo $$ >> "$0"; exec sleep 300'
        running = asyncio.ensure_future(
            invoke(ShellRun(), {"argv": ["sh", "-c", script, str(marks)]}, context(lease=lease))
        )
        await asyncio.sleep(delay)
        lease.cancel("abort")
        assert (await running).error_code == "cancelled"

    pids = [int(pid) for pid in marks.read_text().split()] if marks.exists() else []
    await eventually(lambda: not any(alive(pid) for pid in pids))
