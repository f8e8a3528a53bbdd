"""Branches, loops and taking back on real rows: what is stored, what two workers at once bring, how much it costs."""

import asyncio
import uuid
from typing import Any

import pytest

from services.executor.claims import Asked
from services.executor.commands import AbortExecution, ChooseForStep, ListSteps
from services.executor.model import Attempt, Settlement
from services.executor.step_views import list_steps
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.samples import due

pytestmark = pytest.mark.stack


def reading(name: str, **more: Any) -> dict[str, Any]:
    return step(name, effect="read", resource=None, **more)


def plain(*steps: dict[str, Any], **more: Any) -> Any:
    """A runbook that changes nothing, so needs no verification."""
    cleaned = [{key: value for key, value in one.items() if value is not None} for one in steps]
    spec = runbook(*cleaned, **more)
    return type(spec).model_validate({k: v for k, v in spec.to_json().items() if k != "verify"})


def fan(*names: str, **more: Any) -> dict[str, Any]:
    branches = {name: [_without_none(reading(f"{name}-1")), _without_none(reading(f"{name}-2"))] for name in names}
    return {"id": "fan", "type": "parallel", "branches": branches, **more}


def loop(over: Any, **more: Any) -> dict[str, Any]:
    body = _without_none(reading("look"))
    body["with"] = {"method": "GET", "url": "http://127.0.0.1:9/${{ each.item }}"}
    return {"id": "all", "type": "loop", "over": over, "steps": [body], **more}


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


async def claim_all(bench: Bench, execution: str, worker: str = "worker-1", limit: int = 100) -> list[Attempt]:
    attempts = (await bench.ready(execution))[:limit]
    running, hints = await bench.claims(worker).claim([Asked(attempt) for attempt in attempts])
    await bench.hints.send(hints)
    return list(running.values())


async def settle_all(bench: Bench, attempts: list[Attempt]) -> None:
    settled = await bench.settlements.settle([Settlement(attempt, "succeed") for attempt in attempts])
    await bench.hints.send(settled.hints)


async def paths(bench: Bench, execution: str) -> list[str]:
    return sorted(attempt.path for attempt in await bench.ready(execution))


async def frames(bench: Bench, execution: str) -> list[str]:
    rows = await bench.database.pool.fetch(
        "SELECT path FROM frame WHERE execution_id = $1 ORDER BY path", uuid.UUID(execution)
    )
    return [row["path"] for row in rows]


async def test_branches_are_rows_of_their_own_for_as_long_as_they_go_on(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b"), reading("after")))
    assert await frames(bench, execution) == ["fan/a", "fan/b"]
    assert await paths(bench, execution) == ["fan/a/a-1", "fan/b/b-1"]

    await settle_all(bench, await claim_all(bench, execution))
    await settle_all(bench, await claim_all(bench, execution))

    assert await frames(bench, execution) == []
    assert await paths(bench, execution) == ["after"]
    told = await bench.told(execution)
    assert told == ["planned", "started", *["step_completed"] * 5]


async def test_what_each_branch_did_is_told_with_its_own_fence_and_worker(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b")))
    first = await claim_all(bench, execution, "worker-1", limit=1)
    second = await claim_all(bench, execution, "worker-2", limit=1)

    await settle_all(bench, [*first, *second])

    rows = await bench.database.pool.fetch(
        "SELECT convert_from(payload, 'UTF8')::jsonb->>'worker' AS worker,"
        " (convert_from(payload, 'UTF8')::jsonb->>'fence')::bigint AS fence FROM outbox"
        " WHERE aggregate_id = $1 AND subject = 'runbook.step_completed' ORDER BY id",
        execution,
    )
    assert {(row["worker"], row["fence"]) for row in rows} == {
        ("worker-1", first[0].fence), ("worker-2", second[0].fence),
    }  # fmt: skip


async def test_two_workers_that_settle_at_once_lose_nothing(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b", "c", "d")))
    for _ in range(2):
        running = await claim_all(bench, execution)
        assert len(running) == 4
        await asyncio.gather(*(settle_all(bench, [attempt]) for attempt in running))

    assert (await bench.show(execution))["state"] == "completed"


async def test_a_branch_that_fails_lets_finish_what_a_worker_carries_out(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b", "c")))
    attempts = {attempt.path: attempt for attempt in await bench.ready(execution)}
    running, _ = await bench.claims().claim([Asked(attempts["fan/a/a-1"]), Asked(attempts["fan/b/b-1"])])
    by_path = {attempt.path: attempt for attempt in running.values()}

    await bench.settle(by_path["fan/b/b-1"], "fail", error_code="refused")

    shown = await bench.show(execution)
    assert shown["state"] == "running"
    assert {item["path"]: item["state"] for item in await bench.attempts(execution)} == {
        "fan/a/a-1": "running", "fan/b/b-1": "failed", "fan/c/c-1": "cancelled",
    }  # fmt: skip
    await bench.settle(by_path["fan/a/a-1"])
    assert (await bench.show(execution))["reason"] == "step_failed"


async def test_a_result_beside_the_one_that_stops_it_counts(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b"), reading("after")))
    a, b = sorted(await claim_all(bench, execution), key=lambda attempt: attempt.path)

    settled = await bench.settlements.settle([Settlement(a, "fail", error_code="refused"), Settlement(b, "succeed")])

    assert settled.hints == []
    assert {row["path"]: row["state"] for row in await _step_runs(bench, execution)} == {
        "fan": "failed", "fan/a/a-1": "failed", "fan/b/b-1": "succeeded",
    }  # fmt: skip


async def test_a_worker_that_dies_in_a_branch_is_replaced(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b")))
    lost, other = sorted(await claim_all(bench, execution), key=lambda attempt: attempt.path)

    await bench.expire(lost)

    assert await paths(bench, execution) == ["fan/a/a-1"]
    await settle_all(bench, [other])
    await settle_all(bench, await claim_all(bench, execution))
    await settle_all(bench, await claim_all(bench, execution))
    assert (await bench.show(execution))["state"] == "completed"


async def test_the_deadline_waits_for_what_a_worker_carries_out_in_a_branch(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b")))
    running = await claim_all(bench, execution, limit=1)

    await due(bench, "deadline")
    assert (await bench.show(execution))["state"] == "running"
    await settle_all(bench, running)

    assert (await bench.show(execution))["reason"] == "deadline_exceeded"


async def test_an_abort_ends_every_branch_and_leaves_no_frame(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", "b", "c")))
    running = await claim_all(bench, execution, limit=1)

    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="not wanted"))

    assert await frames(bench, execution) == []
    rows = await bench.attempts(execution)
    assert sorted(row["state"] for row in rows) == ["cancelled", "cancelled", "running"]
    assert [row["cancel_requested"] for row in rows if row["state"] == "running"] == [True]
    assert {row["state"] for row in await _step_runs(bench, execution)} == {"cancelled"}
    await settle_all(bench, running)
    assert (await bench.show(execution))["state"] == "aborted"


async def test_an_abandoned_transaction_leaves_everything_as_it_was(bench: Bench) -> None:
    execution = await bench.execution(plain(loop(["x", "y", "z"], concurrency=2)))
    running = await claim_all(bench, execution)
    before = await frames(bench, execution)

    async def cut_off() -> None:
        async with bench.database.transaction("cut off") as tx:
            await bench.settlements._store(tx, [Settlement(running[0], "succeed")])
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await cut_off()

    assert await frames(bench, execution) == before
    await settle_all(bench, running)
    assert await paths(bench, execution) == ["all/2/look"]


async def test_a_loop_over_what_a_step_answered_goes_on_in_another_process(bench: Bench) -> None:
    spec = plain(reading("hosts"), loop("${{ steps.hosts.outputs.list }}", concurrency=2))
    execution = await bench.execution(spec)
    await bench.settle(await bench.running(execution), outputs={"list": ["x", "y", "z"]})
    from services.executor.storage import frames as stored

    for expected in (["all/0/look", "all/1/look"], ["all/2/look"]):
        stored._items.clear()
        assert await paths(bench, execution) == expected
        await settle_all(bench, await claim_all(bench, execution))

    assert (await bench.show(execution))["state"] == "completed"


async def test_the_parts_of_a_step_are_counted_and_listed_page_by_page(bench: Bench) -> None:
    execution = await bench.execution(plain(loop(list(range(12)), concurrency=12)))
    await settle_all(bench, (await claim_all(bench, execution))[:10])

    [shown] = [item for item in (await bench.show(execution))["steps"] if item["step"] == "all"]
    assert shown["parts"] | {"failures": None} == {
        "total": 12, "begun": 12, "succeeded": 10, "failed": 0, "stopped": 0, "failures": None,
    }  # fmt: skip
    found: list[str] = []
    after = None
    while True:
        async with bench.database.transaction("list") as tx:
            question = ListSteps(execution_id=execution, within="all", state="succeeded", limit=4, after=after)
            page = await list_steps(tx, bench.caller(), question)
        found += [item["step"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert len(found) == len(set(found)) == 10
    assert all(item["attempts"][0]["state"] == "succeeded" for item in page["items"])


async def test_a_thousand_iterations_cost_each_the_same(bench: Bench) -> None:
    execution = await bench.execution(plain(loop(list(range(1_000)), concurrency=100)))
    sizes: list[int] = []
    settled = 0
    while attempts := await claim_all(bench, execution, limit=100):
        await settle_all(bench, attempts)
        settled += len(attempts)
        sizes.append(
            await bench.database.pool.fetchval(
                "SELECT length(frame::text) FROM execution WHERE execution_id = $1", uuid.UUID(execution)
            )
        )

    assert settled == 1_000
    assert max(sizes) < 2_000
    shown = await bench.show(execution)
    assert (shown["state"], shown["steps"][0]["parts"]["succeeded"]) == ("completed", 1_000)


# ── taking back ──────────────────────────────────────────────────────────────────────────────────────────────────

BACK = {"action": "http.request", "with": {"method": "POST", "url": "http://127.0.0.1:9/back/${{ outputs.was }}"}}


def change(name: str, **more: Any) -> dict[str, Any]:
    return step(name, resource=f"r-{name}", rollback=BACK, **more)


async def test_what_was_changed_is_taken_back_under_its_lock_and_in_reverse(bench: Bench) -> None:
    execution = await bench.execution(runbook(change("a"), change("b"), change("c"), on_failed="rollback"))
    for was in ("x", "y"):
        await bench.settle(await bench.running(execution), outputs={"was": was})
    await bench.settle(await bench.running(execution), "fail", error_code="refused")

    taken: list[tuple[str, str | None, bytes]] = []
    for _ in range(2):
        attempt = await bench.running(execution)
        taken.append((attempt.path, attempt.resource_id, attempt.rendered))
        assert (await bench.show(execution))["phase"] == "rollback"
        await bench.settle(attempt)

    assert [(path, resource) for path, resource, _ in taken] == [("rollback:2", "r-b"), ("rollback:1", "r-a")]
    assert [b"/back/y" in taken[0][2], b"/back/x" in taken[1][2]] == [True, True]
    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"], shown["locks"]) == ("failed", "step_failed", [])
    assert (await bench.told(execution))[-4:] == ["rolling_back", "step_completed", "step_completed", "failed"]
    assert (await bench.fact(execution, "failed"))["rolled_back"] == 2
    assert {row["state"] for row in await _step_runs(bench, execution) if "rollback" in row["path"]} == {"succeeded"}


async def test_a_rollback_that_could_not_be_filled_in_asks_a_person(bench: Bench) -> None:
    execution = await bench.execution(runbook(change("a"), change("b"), on_failed="rollback"))
    await bench.settle(await bench.running(execution), outputs={})
    await bench.settle(await bench.running(execution), "fail", error_code="refused")

    shown = await bench.show(execution)
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "choice")
    assert "outputs.was" in shown["steps"][-1]["message"]


async def test_changes_of_iterations_are_taken_back_with_what_they_were_about(bench: Bench) -> None:
    body = change("do")
    body["rollback"] = {
        "action": "http.request",
        "with": {"method": "POST", "url": "http://127.0.0.1:9/${{ each.item }}"},
    }
    spec = runbook(
        {"id": "all", "type": "loop", "over": ["p", "q"], "steps": [body]}, change("end-it"), on_failed="rollback"
    )
    execution = await bench.execution(spec)
    for _ in range(2):
        await bench.settle(await bench.running(execution), outputs={"was": "x"})
    await bench.settle(await bench.running(execution), "fail", error_code="refused")

    second = await bench.running(execution)
    await bench.settle(second)
    first = await bench.running(execution)

    assert b"9/q" in second.rendered
    assert b"9/p" in first.rendered


async def test_begun_again_by_a_person_a_branch_is_carried_out_again(bench: Bench) -> None:
    execution = await bench.execution(plain(fan("a", on_failure="ask")))
    await bench.settle(await bench.running(execution))
    await bench.settle(await bench.running(execution), "fail", error_code="refused")
    choice = ChooseForStep(execution_id=execution, step="fan", choice="retry", rationale="It was mended.")
    await bench.tell("choose", choice)

    for _ in range(2):
        await bench.settle(await bench.running(execution))

    assert (await bench.show(execution))["state"] == "completed"
    done = [(row["path"], row["visit"], row["state"]) for row in await bench.attempts(execution)]
    assert done == [
        ("fan/a/a-1", 1, "succeeded"), ("fan/a/a-2", 1, "failed"),
        ("fan/a/a-1", 2, "succeeded"), ("fan/a/a-2", 2, "succeeded"),
    ]  # fmt: skip


async def test_who_is_to_be_told_of_a_failure_is_told_by_a_worker_before_it_ends(bench: Bench) -> None:
    spec = plain(reading("probe"), escalation={"channels": ["on-call"], "message": "Look at ${{ alert.name }}."})
    execution = await bench.execution(spec)
    await bench.settle(await bench.running(execution), "fail", error_code="refused")

    told = await bench.running(execution)

    assert (told.path, told.action) == ("escalate:0", "notify.send")
    assert b"Look at slow." in told.rendered
    assert (await bench.show(execution))["phase"] == "escalate"
    await bench.settle(told)
    assert (await bench.show(execution))["reason"] == "step_failed"


async def test_the_jitter_and_the_moment_of_a_timer_are_set_by_the_database(bench: Bench) -> None:
    until = {"id": "w", "type": "wait", "until": "2030-01-01T00:00:00Z"}
    execution = await bench.execution(plain(until))
    at = await bench.database.pool.fetchval(
        "SELECT due_at FROM timer WHERE ref_id = $1 AND kind = 'wait'", uuid.UUID(execution)
    )
    assert at.isoformat() == "2030-01-01T00:00:00+00:00"

    retried = reading("probe", retry={"attempts": 2, "delay": "1s", "jitter": "100s", "backoff": "constant"})
    waits = []
    for _ in range(8):
        execution = await bench.execution(plain(retried))
        await bench.settle(await bench.running(execution), "fail", error_code="timeout", retryable=True)
        waits.append(
            await bench.database.pool.fetchval(
                "SELECT extract(epoch FROM due_at - clock_timestamp()) FROM timer WHERE ref_id = $1 AND kind = 'retry'",
                uuid.UUID(execution),
            )
        )
    assert all(0 < wait <= 101 for wait in waits)
    assert max(waits) - min(waits) > 1


async def _step_runs(bench: Bench, execution: str) -> list[dict[str, Any]]:
    rows = await bench.database.pool.fetch(
        "SELECT path, state FROM step_run WHERE execution_id = $1", uuid.UUID(execution)
    )
    return [dict(row) for row in rows]
