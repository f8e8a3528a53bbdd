"""What a decision costs: the embedded engine on the shipped policies, beside a bare JSON round trip of its input."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchFailed
from bench.figures import Figure, Report, percentile
from bench.options import Options
from bench.processes import pss_mb
from libs.common.policy.bundle import PolicyBundle, folder
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.inputs import document
from libs.common.policy.model import Approval, Binding, Context, Principal, Resource
from libs.common.policy.seam import Question, Seam
from libs.common.process import COLLECT_AFTER

NAME: Final = "policy"
GOAL_P99_MS: Final = 1.0
ROOT: Final = Path(__file__).resolve().parents[1]
ACME: Final = frozenset({"acme"})
OPERATOR: Final = Principal("ada", ACME, frozenset({"operator"}), environments=frozenset({"prod", "dev"}), clearance=2)
VIEWER: Final = Principal("vera", ACME, frozenset({"viewer"}))
WORKER: Final = Principal.system("executor")
BOUND: Final = Binding("i-1", "e-1", "s-1", "p-1", "a-1")
GRANT: Final = Approval("ap-1", "granted", "i-1", "e-1", "s-1", "p-1", "a-1", "acme", "rita", "paul", 2**40)


def run(options: Options) -> Report:
    """The bench."""
    rounds, size = options.pick(5, 5, 2), options.pick(20_000, 4_000, 60)
    loads = [_load() for _ in range(options.pick(5, 3, 1))]
    options.measured({"policy": os.getpid()})
    seam = Seam(EmbeddedRego(PolicyBundle.read(folder())))
    asyncio.run(_round(seam, 60, _mix))  # compiles what is asked
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)  # as every process of the product does
    measured = [asyncio.run(_round(seam, size, _mix)) for _ in range(rounds)]
    proven = [asyncio.run(_round(seam, size // 10, _high_risk)) for _ in range(rounds)]
    again = [asyncio.run(_again(seam, size)) for _ in range(rounds)]
    bare = [_json(size) for _ in range(rounds)]
    medians = tuple(percentile(each, 0.5) for each in measured)
    figures = (
        Figure("decision, p99", "ms", tuple(percentile(each, 0.99) for each in measured), lower_is_better=True,
               goal=GOAL_P99_MS, limit=tuple(percentile(each, 0.99) for each in bare), limit_name="JSON round trip"),
        Figure("decision, median", "ms", medians, lower_is_better=True,
               limit=tuple(percentile(each, 0.5) for each in bare), limit_name="JSON round trip"),
        Figure("decision of high risk with its approval, median", "ms",
               tuple(percentile(each, 0.5) for each in proven), lower_is_better=True),
        Figure("decision used again, median", "ms", tuple(percentile(each, 0.5) for each in again),
               lower_is_better=True, limit=medians, limit_name="decision"),
        Figure("first decision of a process", "ms", tuple(load["ms"] for load in loads), lower_is_better=True),
        Figure("memory that it brings along", "MB", tuple(load["mb"] for load in loads), lower_is_better=True),
    )  # fmt: skip
    notes = {"decisions": rounds * size, "longest_ms": round(max(map(max, measured)), 2), "input": _sizes()}
    return Report(NAME, figures, {"decisions": rounds * size, "as expected": True}, notes=notes)


def _mix(number: int) -> Iterator[tuple[Question, bool]]:
    """What is asked about in an incident's life, never twice about the same thing, and what has to come out."""
    incident = Resource("incident", f"i-{number}", "acme", environment="prod", severity="high", clearance=1)
    action = Resource("action", f"a-{number}", "acme")
    tagged = Resource("action", f"a-{number}", "acme", risk="medium", tags={"allow-remediation": "true"})
    yield Question(OPERATOR, "incident.view", incident), True
    yield Question(OPERATOR, "incident.assign", incident), True
    yield Question(OPERATOR, "incident.severity", incident, Context(to="low", rationale_present=True)), True
    yield Question(VIEWER, "incident.transition", incident, Context(to="resolved")), False
    yield Question(OPERATOR, "runbook.publish", Resource("runbook", f"r-{number}", "acme")), True
    yield Question(OPERATOR, "execution.start", Resource("runbook", f"r-{number}", "acme")), True
    yield Question(WORKER, "step.claim", tagged), True
    yield Question(OPERATOR, "step.run", action), True
    yield Question(OPERATOR, "step.complete", Resource("execution", f"e-{number}", "acme", environment="prod")), True
    yield Question(VIEWER, "approval.decide", Resource("approval", f"p-{number}", "acme")), False


def _high_risk(number: int) -> Iterator[tuple[Question, bool]]:
    """What has an approval to prove it: the longest input and the most rules."""
    risky = Resource("action", f"a-{number}", "acme", risk="high", environment="prod")
    yield Question(OPERATOR, "step.run", risky, Context(binding=BOUND, approvals=(GRANT,))), True


async def _round(seam: Seam, size: int, mix: Callable[[int], Iterator[tuple[Question, bool]]]) -> list[float]:
    """Milliseconds that each decision took of the processor: whoever else is at work on it has no part in that.

    Raises:
        BenchFailed: one was not as it should have been.
    """
    took: list[float] = []
    base = time.perf_counter_ns()
    for number in range(max(1, size // 10)):
        for question, wanted in mix(base + number):
            began = time.thread_time()
            found = await seam.decide(*question)
            took.append((time.thread_time() - began) * 1000)
            if found.allow is not wanted:
                raise BenchFailed(f"{question.action}: {found}")
    return took


async def _again(seam: Seam, size: int) -> list[float]:
    """Milliseconds of an answer that stands."""
    incident = Resource("incident", "i-1", "acme")
    took: list[float] = []
    for _ in range(size):
        began = time.thread_time()
        await seam.decide(VIEWER, "incident.view", incident)
        took.append((time.thread_time() - began) * 1000)
    return took


def _json(size: int) -> list[float]:
    """Milliseconds of the processor for writing and reading the same inputs, and no policy."""
    took: list[float] = []
    for number in range(size // 10):
        for question, _ in _mix(number):
            asked = document(*question, now=1)
            began = time.thread_time()
            json.loads(json.dumps(asked))
            took.append((time.thread_time() - began) * 1000)
    return took


def _sizes() -> dict[str, int]:
    sizes = sorted(len(json.dumps(document(*question, now=1))) for question, _ in _mix(1))
    return {"smallest": sizes[0], "largest": sizes[-1]}


def _load() -> dict[str, float]:
    """A process of its own that has all of a service's libraries, and then decides for the first time."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench.policy"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603 -- ours
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    """Decide once; say what it took."""
    seam = Seam(EmbeddedRego(PolicyBundle.read(folder())))
    before, began = pss_mb(os.getpid()), time.perf_counter()
    asyncio.run(seam.decide(VIEWER, "incident.view", Resource("incident", "i-1", "acme")))
    took = (time.perf_counter() - began) * 1000
    sys.stdout.write(json.dumps({"ms": round(took, 1), "mb": round(pss_mb(os.getpid()) - before, 1)}))


if __name__ == "__main__":
    main()
