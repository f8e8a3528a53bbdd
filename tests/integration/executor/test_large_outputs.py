"""Outputs that are too large for a row: cut inline, kept whole as an object, named by hash in outputs and fact."""

import hashlib
from pathlib import Path

import orjson
import pytest

from libs.actions import ActionContext, ActionResult, Arguments, Effect, action
from tests.integration.executor.bench import Bench, runbook
from tests.integration.executor.hands import artefacts_in, hands
from tests.integration.executor.samples import told_step
from tests.integration.executor.test_evidence import refs

pytestmark = pytest.mark.stack
MEBIBYTES = 3 << 19  # one and a half: more than a fact may carry


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
    execution = await bench.execution(runbook(asking(MEBIBYTES)))
    async with hands(bench, much, objects=tmp_path / "objects") as worker:
        assert (await worker.carry_out(execution))["state"] == "succeeded"

    outputs = told_step(await bench.show(execution), "ask")["outputs"]
    assert outputs["truncated"] == ["text"]
    assert len(orjson.dumps(outputs)) < 66_000
    [reference] = await refs(bench, execution)
    data = (tmp_path / "objects/artefacts/output/default" / outputs["object"]["sha256"]).read_bytes()
    assert reference["k"] == "output"
    assert reference["sha256"] == outputs["object"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert orjson.loads(data) == {"text": "x" * MEBIBYTES, "short": 1}


async def test_small_outputs_are_no_object(bench: Bench, tmp_path: Path) -> None:
    execution = await bench.execution(runbook(asking(10)))
    async with hands(bench, much, objects=tmp_path / "objects") as worker:
        await worker.carry_out(execution)

    assert "object" not in told_step(await bench.show(execution), "ask")["outputs"]
    assert artefacts_in(tmp_path / "objects") == []


async def test_outputs_that_cannot_be_kept_do_not_undo_the_step(bench: Bench, tmp_path: Path) -> None:
    blocked = tmp_path / "objects"
    blocked.write_text("a file where the folder should be")
    execution = await bench.execution(runbook(asking(300_000)))
    async with hands(bench, much, objects=blocked) as worker:
        assert (await worker.carry_out(execution))["state"] == "succeeded"

    assert "object" not in told_step(await bench.show(execution), "ask")["outputs"]
    assert blocked.is_file()


def printing(code: int) -> dict[str, object]:
    argv = ["sh", "-c", f"echo on its way; echo no luck >&2; exit {code}"]
    return {"id": "ask", "type": "action", "action": "shell.run", "with": {"argv": argv}, "effect": "read"}


@pytest.mark.parametrize(("code", "told"), [(0, "step_completed"), (3, "step_failed")])
async def test_what_a_command_printed_is_kept_however_it_ended(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str
) -> None:
    monkeypatch.setenv("RR_SHELL_ALLOW", "/bin/sh,/usr/bin/sh")
    execution = await bench.execution(runbook(printing(code)))
    async with hands(bench, objects=tmp_path / "objects") as worker:
        row = await worker.carry_out(execution)

    [reference] = await refs(bench, execution, told)
    [file] = artefacts_in(tmp_path / "objects")
    assert (file.name, reference["k"]) == (reference["sha256"], "output")
    assert orjson.loads(file.read_bytes()) == {"exit_code": code, "stdout": "on its way\n", "stderr": "no luck\n"}
    assert "object" not in orjson.loads(row["result"])
