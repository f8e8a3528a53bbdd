"""What could take long or grow large is evaluated in a child that is killed when it does."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from libs.runbook.cel import Declarations, compile_condition, compile_expression, condition, evaluate, run
from libs.runbook.cel_errors import EvaluationFailed
from libs.runbook.cel_values import ResultRefused, ScopeRefused
from libs.runbook.frame import Frame
from libs.runbook.loader import load
from libs.runbook.planning import PlanFacts, make_plan
from libs.runbook.rendering import RenderRefused, render_action, scope_of
from services.executor.evaluator import EvaluationStopped, ProcessEvaluator, evaluator_for, shared
from tests.support.eventually import eventually
from tests.unit.runbook.samples import text

DECLARED = Declarations.of({"text": "string", "count": "integer"})
SCOPE: dict[str, Any] = {"inputs": {"text": "x" * 1000, "count": 3}, "steps": {"a": {"outputs": {"hosts": [1, 2, 3]}}}}
ONES = ", ".join(["1"] * 1000)
SEARCHES = " || ".join(["inputs.text.indexOf('xy') > 0"] * 20)
FOREVER = f"[{ONES}].exists(a, {SEARCHES})"
ENDLESS = {"inputs": {"text": "x" * 60_000, "count": 3}}
GROWING = "inputs.text" + ".replace('x', inputs.text)" * 3


@pytest.fixture
def evaluator() -> Iterator[ProcessEvaluator]:
    with ProcessEvaluator() as evaluator:
        yield evaluator


def value(source: str, evaluator: ProcessEvaluator, scope: dict[str, Any] | None = None) -> Any:
    return evaluate(compile_expression(source, DECLARED), scope or SCOPE, evaluator)


@pytest.mark.parametrize(
    "source",
    [
        "steps.a.outputs.hosts.map(h, h * inputs.count)",
        "steps.a.outputs.hosts.exists(h, h == 2)",
        "'%s-%d'.format(['a', inputs.count])",
        "{'a': 'b,c'.split(','), 'n': [1].map(x, dyn(null))}",
        "'é👨'.replace('é', 'ü')",
        "[9223372036854775807, -9223372036854775808].map(x, x)",
    ],
)
def test_the_child_answers_as_the_library_does_here(source: str, evaluator: ProcessEvaluator) -> None:
    found, here = value(source, evaluator), evaluate(compile_expression(source, DECLARED), SCOPE, run)

    assert (found, type(found)) == (here, type(here))


def test_a_condition_with_a_loop_is_true_or_false(evaluator: ProcessEvaluator) -> None:
    assert condition(compile_condition("[1, 2].all(x, x > 0)", DECLARED), SCOPE, evaluator) is True
    assert condition(compile_condition("[1, 2].all(x, x > 1)", DECLARED), SCOPE, evaluator) is False


def test_what_runs_here_starts_no_child(evaluator: ProcessEvaluator) -> None:
    assert value("inputs.count + 1", evaluator) == 4
    assert evaluator.pid is None


def test_the_child_is_used_again(evaluator: ProcessEvaluator) -> None:
    pids = {(value("[1].map(x, x)", evaluator), evaluator.pid)[1] for _ in range(20)}

    assert len(pids) == 1


def test_errors_and_refusals_come_back_as_such(evaluator: ProcessEvaluator) -> None:
    with pytest.raises(EvaluationFailed, match="divide by zero"):
        value("[0].map(x, 1 / x)", evaluator)
    with pytest.raises(ResultRefused, match="floats are not hashed"):
        value("[0].map(x, 1.5)", evaluator)
    with pytest.raises(ResultRefused, match="yields more than 262144 bytes"):
        value("inputs.text.replace('x', inputs.text)", evaluator)
    assert value("[0].map(x, x)", evaluator) == [0]


def test_bytes_cannot_be_sent(evaluator: ProcessEvaluator) -> None:
    with pytest.raises(ScopeRefused, match="holds bytes"):
        value("[1].map(x, steps.a.outputs.raw)", evaluator, {"steps": {"a": {"outputs": {"raw": b"x"}}}})


def test_what_takes_too_long_is_stopped_and_the_next_is_answered() -> None:
    with ProcessEvaluator(limit_seconds=1) as evaluator:
        assert value("[1].map(x, x)", evaluator) == [1]
        first = evaluator.pid

        with pytest.raises(EvaluationStopped, match=r"took longer than 1 s, and was stopped"):
            value(FOREVER, evaluator, ENDLESS)

        assert evaluator.pid is None
        assert value("[1].map(x, x)", evaluator) == [1]
        assert evaluator.pid != first


def test_what_takes_too_much_memory_is_stopped_and_the_next_is_answered() -> None:
    with ProcessEvaluator(limit_seconds=20) as evaluator:
        with pytest.raises(EvaluationStopped, match="needed more memory than it may have, and was stopped"):
            value(GROWING, evaluator, ENDLESS)

        assert value("[1].map(x, x)", evaluator) == [1]


def test_a_child_that_does_not_answer_is_killed() -> None:
    evaluator = ProcessEvaluator(limit_seconds=0.25)
    value("[1].map(x, x)", evaluator)
    assert evaluator.pid is not None
    os.kill(evaluator.pid, signal.SIGSTOP)

    with pytest.raises(EvaluationStopped, match=r"did not answer within 1 s"):
        value("[1].map(x, x)", evaluator)

    assert value("[1].map(x, x)", evaluator) == [1]
    evaluator.close()


async def test_a_child_that_died_meanwhile_is_replaced(evaluator: ProcessEvaluator) -> None:
    value("[1].map(x, x)", evaluator)
    first = evaluator.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: state(first) in {"Z", ""})

    assert value("[1].map(x, x)", evaluator) == [1]
    assert evaluator.pid != first


def test_a_closed_evaluator_leaves_no_child_and_starts_another_when_asked() -> None:
    evaluator = ProcessEvaluator()
    value("[1].map(x, x)", evaluator)
    first = evaluator.pid
    assert first is not None

    evaluator.close()

    assert state(first) == ""
    assert value("[1].map(x, x)", evaluator) == [1]
    evaluator.close()


async def test_the_child_goes_with_its_parent() -> None:
    program = """
        import sys
        from libs.runbook.cel import Declarations, compile_expression, evaluate
        from services.executor.evaluator import shared
        evaluate(compile_expression("[1].map(x, x)", Declarations()), {}, shared())
        print(shared().pid, flush=True)
        sys.stdin.read()
    """
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert state(child) != ""

    parent.kill()
    await parent.communicate()

    await eventually(lambda: state(child) in {"Z", ""})


def test_the_child_sees_neither_secrets_nor_files_of_its_parent(
    evaluator: ProcessEvaluator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RR_ROLE_SECRET", "secret")
    with (tmp_path / "open").open("w"):
        value("[1].map(x, x)", evaluator)
    about = Path(f"/proc/{evaluator.pid}")

    names = {item.partition("=")[0] for item in (about / "environ").read_text().split("\0") if item}
    targets = {str(item.readlink()).partition(":")[0] for item in (about / "fd").iterdir()}

    assert names == {"LANG", "PYTHONPATH"}
    assert targets == {"socket", "/dev/null"}


def test_threads_take_turns(evaluator: ProcessEvaluator) -> None:
    start = threading.Barrier(4)

    def many(number: int) -> list[Any]:
        start.wait()
        scope = {"inputs": {"count": number}}
        return [value("[1, 2].map(x, x * inputs.count)", evaluator, scope) for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(many, range(4)))

    assert answers == [[[number, 2 * number]] * 100 for number in range(4)]


def test_thousands_of_evaluations_do_not_grow_the_child(evaluator: ProcessEvaluator) -> None:
    compiled = compile_expression("steps.a.outputs.hosts.map(h, inputs.text + string(h))", DECLARED)
    for _ in range(1000):
        evaluate(compiled, SCOPE, evaluator)
    before = resident(evaluator)

    for _ in range(4000):
        evaluate(compiled, SCOPE, evaluator)

    assert resident(evaluator) - before < 4 * 1024 * 1024


STEP = """\
- id: probe
  type: action
  action: http.request
  with: {hosts: "${{ inputs.hosts.split(',').filter(h, h != inputs.not_this) }}"}
  effect: read
"""
INPUTS = """\
inputs:
  hosts: {default: "a,b,c"}
  not_this: {from: "${{ alert.labels.host.replace('-', '') }}", default: b}
"""


def test_a_step_of_a_runbook_may_loop() -> None:
    spec = load(text(STEP, INPUTS)).spec
    plan = make_plan(spec, {}, PlanFacts(), evaluate=evaluator_for(spec))
    scope = scope_of(plan.inputs, PlanFacts(), Frame())

    action = render_action(spec, "probe", scope, evaluate=evaluator_for(spec))

    assert action.arguments == {"hosts": ["a", "c"]}
    with pytest.raises(RenderRefused, match="runs only in the evaluator's own process"):
        render_action(spec, "probe", scope)
    shared().close()


def state(pid: int) -> str:
    """The state of a process, such as S or Z; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def resident(evaluator: ProcessEvaluator) -> int:
    return int(Path(f"/proc/{evaluator.pid}/statm").read_text().split()[1]) * 4096
