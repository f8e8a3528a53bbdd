"""Steps of which nobody knows whether they took effect, and probes that find out. Only `advance` uses it."""

from typing import Final

from msgspec.structs import replace

from libs.runbook.effects import AskProbe
from libs.runbook.expressions import ExpressionError
from libs.runbook.facts import Probed
from libs.runbook.frame import StepRun
from libs.runbook.progress import fail_attempt, succeed
from libs.runbook.steps import ActionStep
from libs.runbook.turn import Turn

MAX_PROBES: Final = 3
PAUSE_SECONDS: Final = 10.0


def arise(turn: Turn, run: StepRun, reason: str) -> None:
    """Nobody knows; if the step has a probe, that is asked, and otherwise a person decides."""
    unknown = replace(run, state="unknown", waiting_for="", error_code="unknown", message=reason)
    turn.put(unknown)
    turn.change(changed=turn.frame.changed or turn.spec.step(run.path).mutating)
    turn.publish_step("step_unknown", unknown, reason=reason)
    ask(turn, unknown)


def ask(turn: Turn, run: StepRun) -> None:
    """Asks the probe, unless there is none, or it was asked often enough."""
    step = turn.spec.step(run.path)
    if isinstance(step, ActionStep) and step.probe is not None and run.probes < MAX_PROBES:
        asked = replace(run, probes=run.probes + 1)
        turn.put(asked)
        turn.effects.append(AskProbe(run.path, run.visit, asked.probes))


def on_probed(turn: Turn, fact: Probed) -> None:
    """The probe says whether it took effect. What has no value here decides nothing."""
    run, step = turn.run(fact), turn.spec.step(fact.path)
    if run.state != "unknown" or not isinstance(step, ActionStep) or step.probe is None:
        return
    if fact.outputs is None:
        turn.set_timer("probe", run.ref, PAUSE_SECONDS)
        return
    try:
        took = turn.known.holds(step.probe.took_effect, turn.scope(run.path, fact.outputs))
    except ExpressionError as error:
        turn.put(replace(run, message=f"{run.message}; the probe: {error}"[:2000]))
        return
    turn.cancel_timer("probe", run.ref)
    if took:
        succeed(turn, replace(run, outputs=dict(fact.outputs)))
    else:
        fail_attempt(turn, run, "no_effect", f"the probe: not {step.probe.took_effect}", retryable=True)
