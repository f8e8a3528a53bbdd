"""Forked processes of the tests behave as those that an interpreter of their own runs."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_ranger.stack.forkclient import ForkLauncher
from tests.support.eventually import eventually
from tests.support.forked import Nursery, Process
from tests.support.processes import alive, freeze

SLEEP = "import time; print('begun', flush=True); time.sleep(600)"


def _refuse(report: str) -> None:
    raise ImportError(report)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    found = Nursery(ForkLauncher(["tests.support.forked"], _refuse))
    yield found
    found.close()


def run(nursery: Nursery, code: str, output: Path, **env: str) -> Process:
    with output.open("ab") as file:
        return nursery.start(["timeit", "-n", "1", "-r", "1", code], env, file.fileno())


async def begun(nursery: Nursery, output: Path) -> Process:
    process = run(nursery, SLEEP, output)
    await eventually(lambda: "begun" in output.read_text())
    return process


async def test_it_sees_just_the_environment_that_it_was_given(nursery: Nursery, tmp_path: Path) -> None:
    process = run(nursery, "import os; print(sorted(os.environ.items()))", tmp_path / "out", ONE="1", TWO="2")

    assert await process.wait() == 0
    assert (tmp_path / "out").read_text().startswith("[('ONE', '1'), ('TWO', '2')]\n")


async def test_it_runs_as_the_main_module(nursery: Nursery, tmp_path: Path) -> None:
    process = run(nursery, "import sys; print(sys.modules['__main__'].__spec__.name)", tmp_path / "out")

    assert await process.wait() == 0
    assert (tmp_path / "out").read_text().startswith("timeit\n")


@pytest.mark.parametrize("code", [0, 7])
async def test_its_exit_code_is_told(nursery: Nursery, tmp_path: Path, code: int) -> None:
    process = run(nursery, f"import os; os._exit({code})", tmp_path / "out")

    assert await process.wait() == code
    assert process.returncode == code
    with pytest.raises(ProcessLookupError):
        process.terminate()


async def test_an_error_is_said_and_ends_it(nursery: Nursery, tmp_path: Path) -> None:
    process = run(nursery, "raise LookupError('not here')", tmp_path / "out")

    assert await process.wait() == 1
    assert "LookupError: not here" in (tmp_path / "out").read_text()


async def test_a_kill_ends_it_and_says_so_to_everyone_who_waits(nursery: Nursery, tmp_path: Path) -> None:
    process = await begun(nursery, tmp_path / "out")
    waiting = [asyncio.create_task(process.wait()) for _ in range(2)]
    other = await begun(nursery, tmp_path / "other")
    assert process.returncode is None

    process.kill()

    assert await asyncio.gather(*waiting) == [-signal.SIGKILL] * 2
    assert not alive(process.pid)
    assert other.returncode is None


async def test_one_that_is_suspended_goes_on(nursery: Nursery, tmp_path: Path) -> None:
    process = await begun(nursery, tmp_path / "out")

    freeze(process.pid)
    process.terminate()
    assert process.returncode is None
    process.send_signal(signal.SIGCONT)

    assert await process.wait() == -signal.SIGTERM


async def test_all_end_with_their_server_and_the_next_has_another(nursery: Nursery, tmp_path: Path) -> None:
    process = await begun(nursery, tmp_path / "out")
    assert nursery.launcher.server is not None

    os.kill(nursery.launcher.server.pid, signal.SIGKILL)

    assert await process.wait() == -signal.SIGKILL
    await eventually(lambda: not alive(process.pid))
    nursery.launcher.server.process.wait(10)
    assert await run(nursery, "pass", tmp_path / "out").wait() == 0
