"""One step with its templates filled in: the bytes that are hashed, approved and carried out.

Rendering is done when an action is about to be asked for and again at its claim; equal scope, equal bytes, equal
hash, so a drift between the two shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.runbook import durations, hashing
from libs.runbook.canonical import OutsideProfile, canonical
from libs.runbook.declared import evaluator_of
from libs.runbook.expressions import Evaluate, ExpressionError, render
from libs.runbook.frame import Frame
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import ActionStep, Runbook

MAX_RENDERED: Final = 256 * 1024
MAX_RESOURCE: Final = 512


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


def scope_of(inputs: Mapping[str, Any], facts: PlanFacts, frame: Frame) -> dict[str, Any]:
    """What templates may name: inputs, alert, incident, and the outputs of steps that succeeded (latest visit)."""
    outputs = {run.path: {"outputs": run.outputs} for run in frame.step_runs if run.state == "succeeded"}
    return {"inputs": dict(inputs), **facts.to_scope(), "steps": outputs}


def render_action(
    spec: Runbook, path: str, scope: Mapping[str, Any], *, evaluate: Evaluate | None = None
) -> RenderedAction:
    """The action of the step at `path`.

    Raises:
        RenderRefused: a value is missing, is no text where text is needed, is a float or otherwise not hashed, or
            the whole is over 256 KiB. The step halts; nothing was done.
    """
    step = step_at(spec, path)
    evaluate = evaluate or evaluator_of(spec)
    try:
        arguments = render(step.arguments, scope, evaluate)
        resource = _text("resource", step.resource, scope, evaluate)
        tags_url = _text("target.tags.url", step.target.tags.url if step.target else None, scope, evaluate)
        rendered = canonical(_described(step, path, arguments, resource, tags_url))
    except RenderRefused:
        raise
    except (ExpressionError, OutsideProfile) as error:
        raise RenderRefused(f"{path}: {error}") from None
    if len(rendered) > MAX_RENDERED:
        raise RenderRefused(f"{path}: is {len(rendered)} bytes long; an action has at most {MAX_RENDERED}")
    return RenderedAction(
        path=path,
        action=step.action,
        arguments=arguments,
        effect=step.effect,
        resource=resource,
        tags_url=tags_url,
        timeout_seconds=durations.seconds(step.timeout),
        rendered=rendered,
        action_hash=hashing.action_hash(rendered),
    )


def step_at(spec: Runbook, path: str) -> ActionStep:
    """The step that a path leads to; in a runbook without bodies a path is a step's id.

    Raises:
        KeyError: there is none.
    """
    return spec.step(path)


def _described(
    step: ActionStep, path: str, arguments: Any, resource: str | None, tags_url: str | None
) -> dict[str, Any]:
    return {
        "path": path,
        "action": step.action,
        "with": arguments,
        "effect": step.effect,
        "resource": resource,
        "tags_url": tags_url,
        "timeout_ms": durations.milliseconds(step.timeout),
    }


def _text(name: str, template: str | None, scope: Mapping[str, Any], evaluate: Evaluate | None) -> str | None:
    if template is None:
        return None
    value = render(template, scope, evaluate)
    if not isinstance(value, str) or not value or "\x00" in value:
        raise RenderRefused(f"{name} must be a string with at least one character")
    if name == "resource" and len(value) > MAX_RESOURCE:
        raise RenderRefused(f"{name} is longer than {MAX_RESOURCE} characters")
    return value
