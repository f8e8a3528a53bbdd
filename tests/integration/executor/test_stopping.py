"""Whoever ends an execution ends what it runs: commands with all that they have started, and what is left is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from libs.actions import http_request
from services.executor.commands import AbortExecution, RollBackExecution, TerminateExecution
from services.executor.hints import STREAMS
from services.executor.worker.attempts import Entry
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.hands import hands
from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually
from tests.support.processes import alive

pytestmark = pytest.mark.stack
SCRIPT = 'sleep 60 & echo $! >> "$0"; setsid sleep 60 & echo $! >> "$0"; echo $$ >> "$0"; wait'


@asynccontextmanager
async def running(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, list[int]]]:
    """An execution whose worker runs a command with two children, one in a session of its own: its id, and all pids."""
    monkeypatch.setenv("RR_SHELL_ALLOW", "sh")
    pids = folder / "pids"
    command = {"action": "shell.run", "with": {"argv": ["sh", "-c", SCRIPT, str(pids)]}}
    execution = await bench.execution(runbook(step(effect="unsafe") | command))
    async with hands(bench) as worker:
        [attempt] = await bench.ready(execution)
        await worker.worker.take([Entry(STREAMS[1], b"0-1", attempt.action_id, "")])
        await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 3, timeout=20)
        found = [int(pid) for pid in pids.read_text().split()]
        assert all(map(alive, found))
        yield execution, found


async def settled(bench: Bench, execution: str) -> dict[str, Any]:
    """The attempt, once its worker has said how far it came."""

    async def look() -> dict[str, Any] | None:
        [row] = await bench.attempts(execution)
        return row if row["state"] != "running" and (row["error_code"] != "terminated" or row["late"]) else None

    found = await eventually(look, timeout=20)
    assert found is not None
    return found


async def test_an_abort_kills_the_whole_process_group_and_tells_what_became_of_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(bench, tmp_path, monkeypatch) as (execution, pids):
        answer = await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))
        row = await settled(bench, execution)
        assert not any(map(alive, pids))

    assert [each["step"] for each in answer["stopping"]] == ["fix"]
    assert (row["state"], row["error_code"]) == ("unknown", "cancelled")  # it may have done a part of its work
    fact = await bench.fact(execution, "step_outlived")
    assert (fact["step"], fact["outcome"], fact["error_code"]) == ("fix", "unknown", "cancelled")


async def test_a_change_that_was_sent_keeps_its_resource_when_nobody_knows_its_end(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_request, "LAST_WORD_SECONDS", 0.05)
    async with DemoTarget(tmp_path) as target:
        monkeypatch.setenv("RR_EGRESS_ALLOW", target.url.removeprefix("http://"))
        await target.post("/gate", {"mode": "hold_before_effect"})
        call = {"with": {"method": "POST", "url": f"{target.url}/reroute", "json": {}}}
        execution = await bench.execution(runbook(step(effect="keyed") | call))

        async def held() -> int:
            return int((await target.get("/gate"))["held"])

        async with hands(bench) as worker:
            [attempt] = await bench.ready(execution)
            await worker.worker.take([Entry(STREAMS[1], b"0-1", attempt.action_id, "")])
            await eventually(held)
            await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))
            row = await settled(bench, execution)

    assert (row["state"], row["error_code"]) == ("unknown", "not_stopped")
    assert await bench.lock() == (execution, "suspect")
    fact = await bench.fact(execution, "step_outlived")
    assert (fact["outcome"], fact["error_code"]) == ("unknown", "not_stopped")


async def test_force_kills_it_too_and_what_its_worker_says_changes_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(bench, tmp_path, monkeypatch) as (execution, pids):
        answer = await bench.tell("terminate", TerminateExecution(execution_id=execution, rationale="needed"))
        assert await bench.lock() is None
        row = await settled(bench, execution)
        assert not any(map(alive, pids))

    assert [each["step"] for each in answer["unstopped"]] == ["fix"]
    assert (row["state"], row["error_code"]) == ("unknown", "terminated")


async def test_a_rollback_waits_for_what_runs(bench: Bench) -> None:
    back = {"action": "http.request", "with": {"method": "POST", "url": "http://127.0.0.1:9/back"}}
    execution = await bench.execution(runbook(step("one", rollback=back), step("two", rollback=back), step("three")))
    await bench.settle(await bench.running(execution))
    two = await bench.running(execution)

    answer = await bench.tell("roll_back", RollBackExecution(execution_id=execution, rationale="no help"))
    assert (answer["phase"], answer["changes"], await bench.ready(execution)) == ("rollback", 1, [])
    await bench.settle(two)

    for expected in ("rollback:2", "rollback:1"):
        attempt = await bench.running(execution)
        assert attempt.path == expected
        await bench.settle(attempt)
    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"]) == ("failed", "rolled_back_by_person")
    assert (await bench.fact(execution, "failed"))["rolled_back"] == 2


async def test_many_that_run_side_by_side_are_all_ended_by_force(bench: Bench) -> None:
    loop = {
        "id": "each-of", "type": "loop", "over": ["a", "b", "c"], "concurrency": 3,
        "steps": [step("mend", resource="r/${{ each.item }}")],
    }  # fmt: skip
    execution = await bench.execution(runbook(loop))
    await bench.claim(execution)

    answer = await bench.tell("terminate", TerminateExecution(execution_id=execution, rationale="needed"))

    assert sorted(each["step"] for each in answer["unstopped"]) == [f"each-of/{n}/mend" for n in range(3)]
    assert answer["freed"] == ["r/a", "r/b", "r/c"]
    assert {row["state"] for row in await bench.attempts(execution)} == {"unknown"}
    assert (await bench.show(execution))["state"] == "aborted"
