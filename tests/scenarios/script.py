"""The words of a story: what workers, people, alerts and time do, line by line.

A scenario is a YAML file: `why` (the promise, in one line), `runbook` (the name of a file in `runbooks/`, a
`documented` example, or a runbook), `alert`, `inputs`, `story` and `expect`. Every line of a story is one thing:

    begins: step                           a worker claims it; whatever it says below follows
    succeeds: step, outputs: {…}           it was carried out
    fails: step, code, retryable, harmless it could not; harmless: it certainly changed nothing
    times_out: step                        it got no answer in time, to a request that was sent
    lost: step                             its worker vanished, and its lease ran out
    late: step, outputs: {…}               a result comes after nobody knew
    turned_away: step                      the claim finds that the alert has ended
    held: step, by: lock | kill_switch | budget | cooldown | breaker    the claim has to wait, until released: step
    grant | reject | revoke: step          somebody who may answers, or takes it back
    misgranted: step, code                 a grant comes that is for something else than the step would do
    decide: step, as: succeeded | failed | abort
    complete: step, as, evidence, values   and if it must not count, refused: what is wrong with it
    abort | fail: why                      a person ends it
    alert: ends | fires
    passes: 5m                             what is due meanwhile happens in its order
    sees: {state, waits_for, blocked_by, asked, errors}
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from libs.actions import ActionResult, Effect, Outcome, outcome
from libs.runbook import forms
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    FailRequested,
    GrantRefused,
    StepCompletedByPerson,
    StepDecided,
    StepFailed,
    StepHeld,
    StepLost,
    StepNotNeeded,
    StepReleased,
    StepSucceeded,
    StepUnknown,
)
from libs.runbook.steps import ManualStep
from tests.scenarios.stage import Line, OffScript, Stage


def play(stage: Stage, line: Line) -> None:
    """Let one line of the story happen."""
    verb = next(iter(line))
    _VERBS[verb](stage, line[verb], line)


def _settle(stage: Stage, path: str, result: ActionResult) -> None:
    """What the worker says of it, as the executor reads that: by the effect that the step declares."""
    place = stage.claim(path)
    match outcome(result, Effect(stage.spec.step(path).effect_name)):
        case Outcome.SUCCEEDED:
            stage.fold(StepSucceeded(*place, result.outputs))
        case Outcome.UNKNOWN:
            stage.fold(StepUnknown(*place, str(result.error_code)))
        case _:
            stage.fold(StepFailed(*place, str(result.error_code), str(result.message), retryable=result.retryable))


def _succeeds(stage: Stage, path: str, line: Line) -> None:
    _settle(stage, path, ActionResult.succeeded(line.get("outputs", {})))


def _fails(stage: Stage, path: str, line: Line) -> None:
    possible, again = not line.get("harmless", False), line.get("retryable", False)
    code = line.get("code", "unexpected_status")
    _settle(stage, path, ActionResult.failed(code, "it failed", effect_possible=possible, retryable=again))


def _times_out(stage: Stage, path: str, _line: Line) -> None:
    _settle(stage, path, ActionResult.failed("timeout", "no answer", effect_possible=True, retryable=True))


def _lost(stage: Stage, path: str, _line: Line) -> None:
    stage.fold(StepLost(*stage.claim(path)))


def _late(stage: Stage, path: str, line: Line) -> None:
    if stage.run(path).state != "unknown":
        raise OffScript(f"{path} is {stage.run(path).state}: a late result counts only while nobody knows")
    stage.fold(StepSucceeded(*stage.place(path), line.get("outputs", {})))


def _turned_away(stage: Stage, path: str, _line: Line) -> None:
    if path not in stage.ready or stage.needed(path):
        raise OffScript(f"{path} is not turned away")
    stage.fold(StepNotNeeded(*stage.place(path)))


def _held(stage: Stage, path: str, line: Line) -> None:
    if path not in stage.ready:
        raise OffScript(f"{path} is not ready; {sorted(stage.ready) or 'nothing'} is")
    stage.fold(StepHeld(*stage.place(path), line["by"]))


def _released(stage: Stage, path: str, _line: Line) -> None:
    if not stage.run(path).held:
        raise OffScript(f"nothing holds {path}")
    stage.fold(StepReleased(*stage.place(path)))


def _misgranted(stage: Stage, path: str, line: Line) -> None:
    if not stage.run(path).waits_for("approval"):
        raise OffScript(f"nobody asked about {path}")
    stage.fold(GrantRefused(*stage.place(path), "stray", line["code"], "it is for something else", "00", "00"))


def _decide(stage: Stage, path: str, line: Line) -> None:
    if stage.run(path).state != "unknown":
        raise OffScript(f"{path} is {stage.run(path).state}, not unknown")
    stage.fold(StepDecided(*stage.place(path), line["as"], "ada", "I looked"))


def _complete(stage: Stage, path: str, line: Line) -> None:
    step = stage.spec.step(path)
    if not isinstance(step, ManualStep) or not stage.run(path).waits_for("person"):
        raise OffScript(f"{path} does not wait for a person")
    end, evidence, values = line.get("as", "succeeded"), line.get("evidence", ""), line.get("values", {})
    faults = "; ".join(f"{fault.path} {fault.message}" for fault in forms.faults(step, end, evidence, values))
    if faults != line.get("refused", ""):
        raise OffScript(f"{path} is refused for {faults!r}, not {line.get('refused', '')!r}")
    before = stage.frame
    stage.fold(StepCompletedByPerson(*stage.place(path), end, "ada", evidence, values))
    if not faults:
        stage.asked.pop(path, None)
    elif stage.frame != before:
        raise OffScript(f"{path} was refused, and yet it changed something")


def _see(stage: Stage, wanted: Line, _line: Line) -> None:
    seen = stage.look()
    for key, value in wanted.items():
        if seen[key] != value:
            raise OffScript(f"{key} is {seen[key]!r}, not {value!r}")


_VERBS: Final[Mapping[str, Callable[[Stage, Any, Line], object]]] = {
    "begins": lambda stage, path, _line: stage.claim(path),
    "succeeds": _succeeds,
    "fails": _fails,
    "times_out": _times_out,
    "lost": _lost,
    "late": _late,
    "turned_away": _turned_away,
    "held": _held,
    "released": _released,
    "grant": lambda stage, path, _line: stage.grant(path),
    "reject": lambda stage, path, _line: stage.reject(path),
    "revoke": lambda stage, path, _line: stage.revoke(path),
    "misgranted": _misgranted,
    "decide": _decide,
    "complete": _complete,
    "abort": lambda stage, why, _line: stage.fold(AbortRequested("ada", why)),
    "fail": lambda stage, why, _line: stage.fold(FailRequested("ada", why)),
    "alert": lambda stage, what, _line: stage.fold(AlertObserved(firing=what == "fires")),
    "passes": lambda stage, duration, _line: stage.pass_time(duration),
    "sees": _see,
}
