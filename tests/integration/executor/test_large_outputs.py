"""Outputs that are too large for a row: cut inline, kept whole as an object, named by hash in outputs and fact."""

import hashlib
from pathlib import Path

import orjson
import pytest

from libs.actions import ActionContext, ActionResult, Arguments, Effect, action
from libs.tlog.shape import REF_KINDS
from tests.integration.executor.bench import Bench, runbook
from tests.integration.executor.hands import hands
from tests.integration.executor.samples import told_step
from tests.integration.executor.test_evidence import refs

pytestmark = pytest.mark.stack


class Wanted(Arguments):
    """How much."""

    bytes: int


@action("test.much", Wanted, effects=(Effect.READ,))
async def much(arguments: Wanted, _context: ActionContext) -> ActionResult:
    """Say a lot."""
    return ActionResult.succeeded({"text": "x" * arguments.bytes, "short": 1})


def asking(size: int) -> dict[str, object]:
    return {"id": "ask", "type": "action", "action": "test.much", "with": {"bytes": size}, "effect": "read"}


async def test_what_was_cut_is_kept_whole_and_named(bench: Bench, tmp_path: Path) -> None:
    execution = await bench.execution(runbook(asking(300_000)))
    async with hands(bench, much, objects=tmp_path / "objects") as worker:
        assert (await worker.carry_out(execution))["state"] == "succeeded"

    outputs = told_step(await bench.show(execution), "ask")["outputs"]
    assert outputs["truncated"] == ["text"]
    assert len(orjson.dumps(outputs)) < 66_000
    [reference] = await refs(bench, execution)
    data = (tmp_path / "objects" / outputs["object"]["sha256"]).read_bytes()
    assert reference["k"] in REF_KINDS
    assert reference["sha256"] == outputs["object"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert orjson.loads(data) == {"text": "x" * 300_000, "short": 1}


async def test_small_outputs_are_no_object(bench: Bench, tmp_path: Path) -> None:
    execution = await bench.execution(runbook(asking(10)))
    async with hands(bench, much, objects=tmp_path / "objects") as worker:
        await worker.carry_out(execution)

    assert "object" not in told_step(await bench.show(execution), "ask")["outputs"]
    assert not (tmp_path / "objects").exists()


async def test_outputs_that_cannot_be_kept_do_not_undo_the_step(bench: Bench, tmp_path: Path) -> None:
    blocked = tmp_path / "objects"
    blocked.write_text("a file where the folder should be")
    execution = await bench.execution(runbook(asking(300_000)))
    async with hands(bench, much, objects=blocked) as worker:
        assert (await worker.carry_out(execution))["state"] == "succeeded"

    assert "object" not in told_step(await bench.show(execution), "ask")["outputs"]
    assert blocked.is_file()
