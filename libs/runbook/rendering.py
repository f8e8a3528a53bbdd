"""One step with its templates filled in: the bytes that are hashed, approved and carried out.

Rendering is done when an action is about to be asked for and again at its claim; equal scope, equal bytes, equal
hash, so a drift between the two shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.runbook import durations, forms, hashing
from libs.runbook.canonical import OutsideProfile, canonical
from libs.runbook.declared import evaluator_of
from libs.runbook.expressions import Evaluate, ExpressionError, render
from libs.runbook.frame import Frame
from libs.runbook.paths import around, name_of, probe_of
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import UNDOING, Runbook
from libs.runbook.steps import ActingStep, ActionStep, AnyStep, CheckStep, ManualStep, NotifyStep

MAX_RENDERED: Final = 256 * 1024
MAX_RESOURCE: Final = 512
BY_HAND: Final = "manual"


class RenderRefused(ExpressionError):
    """The step has no bytes that could be hashed: a template has no value, or the value is outside the profile."""


@dataclass(frozen=True, slots=True)
class RenderedAction:
    """What a worker carries out. `rendered` is the canonical JSON that `action_hash` is over."""

    path: str
    action: str
    arguments: Mapping[str, Any]
    effect: str
    resource: str | None
    tags_url: str | None
    timeout_seconds: float
    rendered: bytes
    action_hash: str


def scope_of(inputs: Mapping[str, Any], facts: PlanFacts, frame: Frame, path: str = "") -> dict[str, Any]:
    """What templates of a step may name: inputs, alert, incident, and the outputs of steps that succeeded.

    Known are the steps of its own sequence and of those around it, by id; in an iteration also `each.item`,
    `each.index`, and as `each.outer` what is around it.
    """
    steps: dict[str, Any] = {}
    loop: dict[str, Any] = {}
    for around_it in _frames(frame, path):
        steps |= {
            name_of(run.path): {"outputs": run.outputs} for run in around_it.step_runs if run.state == "succeeded"
        }
        if around_it.names:
            loop = {**around_it.names, **({"outer": loop} if loop else {})}
    return {"inputs": dict(inputs), **facts.to_scope(), "steps": steps, **({"each": loop} if loop else {})}


def _frames(frame: Frame, path: str) -> list[Frame]:
    """The frames around a step, the outermost first."""
    found = []
    while frame_path := around(path):
        if frame_path in frame.children:
            found.append(frame.children[frame_path])
        path = frame_path
    return [frame, *reversed(found)]


def render_action(
    spec: Runbook, path: str, scope: Mapping[str, Any], *, evaluate: Evaluate | None = None
) -> RenderedAction:
    """What a worker carries out at `path`: an action, the action of a check, a notification.

    Of a manual step it is what an approval is for: the action is named `manual`, its arguments are what the person
    is shown, and no worker carries it out.

    Raises:
        RenderRefused: the step has nothing to carry out, or a value is missing, is no text where text is needed, is a
            float or otherwise not hashed, or the whole is over 256 KiB. The step halts; nothing was done.
    """
    return _rendered(spec.step(path), path, scope, evaluate or evaluator_of(spec))


def _rendered(step: AnyStep, path: str, scope: Mapping[str, Any], evaluate: Evaluate) -> RenderedAction:
    try:
        arguments = render(_arguments(step), scope, evaluate)
        resource, tags_url = _surroundings(step, scope, evaluate)
        rendered = canonical(_described(step, path, arguments, resource, tags_url))
    except RenderRefused:
        raise
    except (ExpressionError, OutsideProfile) as error:
        raise RenderRefused(f"{path}: {error}") from None
    if len(rendered) > MAX_RENDERED:
        raise RenderRefused(f"{path}: is {len(rendered)} bytes long; an action has at most {MAX_RENDERED}")
    return RenderedAction(
        path=path,
        action=_action(step),
        arguments=arguments,
        effect=step.effect_name,
        resource=resource,
        tags_url=tags_url,
        timeout_seconds=_timeout_ms(step) / 1_000,
        rendered=rendered,
        action_hash=hashing.action_hash(rendered),
    )


def render_rollback(
    spec: Runbook, path: str, number: int, scope: Mapping[str, Any], *, evaluate: Evaluate | None = None
) -> RenderedAction:
    """What takes a step back, with what it answered as `outputs` of the scope; same lock, same target.

    Raises:
        RenderRefused: as `render_action`.
    """
    step = spec.step(path)
    if not isinstance(step, ActionStep) or step.rollback is None:
        raise RenderRefused(f"{path}: does not say how it is taken back")
    back = step.rollback
    undo = step.model_copy(
        update={"action": back.action, "arguments": back.arguments, "effect": back.effect, "timeout": back.timeout}
    )
    return _rendered(undo, f"{UNDOING}{number}", scope, evaluate or evaluator_of(spec))


def render_probe(
    spec: Runbook, path: str, scope: Mapping[str, Any], *, evaluate: Evaluate | None = None
) -> RenderedAction:
    """What finds out whether a step took effect; it takes no lock.

    Raises:
        RenderRefused: as `render_action`.
    """
    step = spec.step(path)
    if not isinstance(step, ActionStep) or step.probe is None:
        raise RenderRefused(f"{path}: has no probe")
    asked = step.probe
    look = {"action": asked.action, "arguments": asked.arguments, "effect": "read", "timeout": asked.timeout}
    probe = step.model_copy(update={**look, "resource": None, "target": None})
    return _rendered(probe, probe_of(path), scope, evaluate or evaluator_of(spec))


def _arguments(step: AnyStep) -> dict[str, Any]:
    match step:
        case ActionStep():
            return step.arguments
        case CheckStep(action=str()):
            return step.arguments
        case NotifyStep():
            severity = {"severity": step.severity} if step.severity else {}
            return {"channel": step.channel, "message": step.message, **severity}
        case ManualStep():
            return {"instructions": step.instructions, "form": forms.described(step), "evidence": step.evidence}
        case _:
            raise RenderRefused(f"{step.id}: has nothing to carry out")


def _surroundings(step: AnyStep, scope: Mapping[str, Any], evaluate: Evaluate | None) -> tuple[str | None, str | None]:
    """The lock's key, and where the target's tags are read."""
    if not isinstance(step, ActionStep):
        return None, None
    url = step.target.tags.url if step.target else None
    return _text("resource", step.resource, scope, evaluate), _text("target.tags.url", url, scope, evaluate)


def _described(step: AnyStep, path: str, arguments: Any, resource: str | None, tags_url: str | None) -> dict[str, Any]:
    return {
        "path": path,
        "action": _action(step),
        "with": arguments,
        "effect": step.effect_name,
        "resource": resource,
        "tags_url": tags_url,
        "timeout_ms": _timeout_ms(step),
    }


def _action(step: AnyStep) -> str:
    return BY_HAND if isinstance(step, ManualStep) else step.action_name


def _timeout_ms(step: AnyStep) -> int:
    return durations.milliseconds(step.timeout) if isinstance(step, ActingStep) else 0


def _text(name: str, template: str | None, scope: Mapping[str, Any], evaluate: Evaluate | None) -> str | None:
    if template is None:
        return None
    value = render(template, scope, evaluate)
    if not isinstance(value, str) or not value or "\x00" in value:
        raise RenderRefused(f"{name} must be a string with at least one character")
    if name == "resource" and len(value) > MAX_RESOURCE:
        raise RenderRefused(f"{name} is longer than {MAX_RESOURCE} characters")
    return value
