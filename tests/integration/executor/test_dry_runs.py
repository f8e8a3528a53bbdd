"""A dry run reads and checks for real; it changes nothing, asks nobody, waits for nothing, and says so everywhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from libs.actions import Registry
from libs.runbook.dry_run import SIMULATE
from services.executor.worker.simulation import Simulate
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.clerk import Clerk, clerking
from tests.integration.executor.hands import hands
from tests.integration.executor.samples import QUESTION, check, told_step
from tests.support.listening import listening
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack


@pytest.fixture
async def clerk(bench: Bench, stack_env: StackEnv) -> AsyncIterator[Clerk]:
    """Who begins."""
    async with clerking(bench, stack_env) as clerk:
        yield clerk


@asynccontextmanager
async def target(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, list[str]]]:
    """A target that answers every request and remembers its first line: its URL, and what it was asked."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" HTTP")[0])
        body = b'{"to": "b"}'
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()

    async with listening(answer) as port:
        monkeypatch.setenv("RR_EGRESS_ALLOW", f"127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", asked


async def ended(bench: Bench, execution: str) -> dict[str, Any]:
    """The execution once it has ended, carried out by a worker."""
    async with hands(bench, Simulate(Registry.builtin())) as worker:
        while await bench.ready(execution):
            await worker.carry_out(execution)
    shown = await bench.show(execution)
    assert shown["ended_at"]
    return shown


def whole(url: str) -> tuple[dict[str, Any], ...]:
    """A step of each kind: a read whose answer a mutation uses, questions, waits, and what depends on the mutation."""
    read = {"with": {"method": "GET", "url": f"{url}/look"}}
    change = {"with": {"method": "POST", "url": f"{url}/move/${{{{ steps.look.outputs.json.to }}}}"}}
    return (
        QUESTION,
        check("outputs.status == 200") | read,
        step("move", risk="high", effect="unsafe", requires_firing=True, target={"tags": {"url": f"{url}/tags"}})
        | change,
        {"id": "tell", "type": "notify", "channel": "nobody-configured", "message": "moved to ${{ alert.name }}"},
        {"id": "soak", "type": "wait", "for": "6h"},
        {"id": "hand", "type": "manual", "instructions": "Look", "evidence": "required"},
        {"id": "judge", "type": "check", "expect": "steps.move.outputs.status == 200"},
    )


async def test_only_reads_reach_the_target_and_everything_else_is_simulated(
    bench: Bench, clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with target(monkeypatch) as (url, asked):
        clerk.neighbours.publish(runbook(*whole(url)))
        incident = await clerk.incident()
        begun = await clerk.begin(incident_id=incident, dry_run=True)
        shown = await ended(bench, begun["execution_id"])

    assert begun["dry_run"]
    assert asked == ["GET /look"]
    assert (shown["state"], shown["reason"], shown["dry_run"]) == ("completed", "done", True)
    how = {each["step"]: each["simulation"] for each in shown["steps"]}
    assert how.pop("look") == "carried_out"
    assert how.pop("judge") == "not_simulated"
    assert set(how.values()) == {"simulated"}
    assert "what move would answer" in told_step(shown, "judge")["message"]
    [tried] = [each for each in await bench.attempts(shown["execution_id"]) if each["path"] == "move"]
    assert orjson.loads(tried["rendered"])["with"]["with"]["url"].endswith("/move/b")


async def test_no_lock_is_taken_nobody_is_asked_no_time_is_waited_and_each_fact_says_dry_run(
    bench: Bench, clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await bench.execution()
    await bench.running(holder)  # somebody else holds what the dry run would change
    async with target(monkeypatch) as (url, _):
        clerk.neighbours.publish(runbook(*whole(url), id="try"))
        begun = await clerk.begin("try", incident_id=await clerk.incident(), dry_run=True)
        await ended(bench, begun["execution_id"])

    rows = await bench.database.pool.fetch(
        "SELECT subject, payload FROM outbox WHERE aggregate_id = $1", begun["execution_id"]
    )
    assert {orjson.loads(row["payload"])["dry_run"] for row in rows} == {True}
    told = await bench.told(begun["execution_id"])
    assert "blocked" not in told
    assert (told[0], told[-1]) == ("planned", "completed")
    assert (await bench.fact(begun["execution_id"], "step_skipped"))["reason"] == "not_simulated"
    timers = await bench.database.pool.fetch("SELECT kind FROM timer WHERE ref_id::text = $1", begun["execution_id"])
    assert {row["kind"] for row in timers} == {"deadline"}
    assert await bench.lock() == (holder, "held")


async def test_a_step_that_could_not_be_carried_out_fails_as_it_would(bench: Bench, clerk: Clerk) -> None:
    clerk.neighbours.publish(runbook(step() | {"with": {"method": "POST", "uri": "http://127.0.0.1:9/"}}, verify=None))

    shown = await ended(bench, (await clerk.begin(dry_run=True))["execution_id"])

    assert (shown["state"], told_step(shown, "fix")["error_code"]) == ("failed", "arguments_invalid")
    assert "uri" in told_step(shown, "fix")["message"]


async def test_a_template_without_a_value_fails_as_it_would(bench: Bench, clerk: Clerk) -> None:
    clerk.neighbours.publish(runbook(step(resource="shard/${{ alert.labels.zone }}")))

    shown = await ended(bench, (await clerk.begin(incident_id=await clerk.incident(), dry_run=True))["execution_id"])

    assert told_step(shown, "fix")["error_code"] == "render_refused"


async def test_no_incident_is_opened_although_the_runbook_would(bench: Bench, clerk: Clerk) -> None:
    clerk.neighbours.publish(runbook(check("outputs.status == 200"), verify=None, tags=("critical",)))

    begun = await clerk.begin(dry_run=True, open_incident=True)

    assert begun["incident_id"] == ""
    assert not (await bench.fact(begun["execution_id"], "planned"))["opens_incident"]


async def test_it_has_the_plan_of_the_run_that_it_tries_on(bench: Bench, clerk: Clerk) -> None:
    clerk.neighbours.publish(runbook(step()))
    incident = await clerk.incident()

    dry = await bench.show((await clerk.begin(incident_id=incident, dry_run=True))["execution_id"])
    real = await bench.show((await clerk.begin(incident_id=incident))["execution_id"])

    assert (dry["spec_hash"], dry["plan_hash"]) == (real["spec_hash"], real["plan_hash"])
    assert [row["action"] for row in await bench.attempts(dry["execution_id"])] == [SIMULATE]
    assert [row["action"] for row in await bench.attempts(real["execution_id"])] == ["http.request"]
