"""What a scenario expected, against what happened."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from libs.runbook import durations
from libs.runbook.simulation.guesses import shown
from libs.runbook.simulation.play import Played
from libs.runbook.simulation.scenario import Expected
from libs.runbook.simulation.stage import Stage
from libs.runbook.steps import NotifyStep
from libs.runbook.text import Path

Miss = tuple[Path, str]


def misses(expected: Expected, played: Played) -> list[Miss]:
    """What does not hold: the place below `expect`, and what was seen instead."""
    return [miss for look in _LOOKS for miss in look(expected, played)]


def state_of(played: Played) -> str:
    """How it ended; `hangs` if it never would."""
    return "hangs" if played.hangs else played.stage.frame.state


def notifications(stage: Stage) -> list[Mapping[str, Any]]:
    """The messages that were handed over, in their order: channel, message, severity."""
    sent = []
    for job in stage.carried_out:
        run = stage.runs[job.place]
        if isinstance(stage.spec.step(job.path), NotifyStep) and run.state == "succeeded":
            sent.append(job.action.arguments)
    return sent


def verified(played: Played) -> bool:
    """Whether success was seen: the alert has ended, or checks hold."""
    ends = [entry.data.get("verified") for entry in played.stage.log if entry.what == "completed"]
    return bool(ends) and ends[-1] != "none"


def asked(stage: Stage) -> list[str]:
    """The steps about which people were asked, in their order."""
    reasons = {"approval", "person", "choice", "unknown"}
    return [entry.path for entry in stage.log if entry.what == "blocked" and entry.data.get("reason") in reasons]


def _end(expected: Expected, played: Played) -> Iterator[Miss]:
    state, frame = state_of(played), played.stage.frame
    if expected.state is not None and state != expected.state:
        yield ("state",), f"is {state}{f' ({frame.reason})' if frame.reason else ''}, not {expected.state}"
    if expected.reason is not None and frame.reason != expected.reason:
        yield ("reason",), f"is {frame.reason or 'none'}, not {expected.reason}"
    if expected.verified is not None and verified(played) != expected.verified:
        yield ("verified",), f"is {str(not expected.verified).lower()}"
    if expected.within is not None and played.stage.now > durations.seconds(expected.within):
        yield ("within",), f"took {played.stage.now:g}s"


def _steps(expected: Expected, played: Played) -> Iterator[Miss]:
    if expected.steps is None:
        return
    seen = {path: run.state for (path, _), run in played.stage.runs.items()}
    for path, state in expected.steps.items():
        if path not in seen:
            yield ("steps", path), "was not reached"
        elif seen[path] != state:
            run = next(run for (name, _), run in played.stage.runs.items() if name == path)
            why = f" ({run.error_code}: {run.message})" if run.error_code else ""
            yield ("steps", path), f"is {seen[path]}{why}, not {state}"
    more = [path for path in seen if path not in expected.steps]
    if more:
        yield ("steps",), f"there were more: {', '.join(f'{path}: {seen[path]}' for path in more)}"
    order = [path for path in seen if path in expected.steps]
    if not more and order != [path for path in expected.steps if path in seen]:
        yield ("steps",), f"came in another order: {', '.join(order)}"


def _runs(expected: Expected, played: Played) -> Iterator[Miss]:
    runs = {path: run for (path, _), run in played.stage.runs.items()}
    for path, code in expected.errors.items():
        found = runs[path].error_code if path in runs else "not reached"
        if found != code:
            yield ("errors", path), f"is {found or 'none'}, not {code}"
    for path, outputs in expected.outputs.items():
        seen = shown(runs[path].outputs) if path in runs else {}
        for name, value in outputs.items():
            if name not in seen or seen[name] != value:
                yield ("outputs", path, name), f"is {_text(seen.get(name))}, not {_text(value)}"


def _actions(expected: Expected, played: Played) -> Iterator[Miss]:
    counted = Counter(job.path for job in played.stage.carried_out)
    for path, count in expected.attempts.items():
        if counted[path] != count:
            yield ("attempts", path), f"is {counted[path]}, not {count}"
    last = {job.path: job.action.arguments for job in played.stage.carried_out}
    for path, arguments in expected.sent.items():
        if path not in last:
            yield ("sent", path), "was not carried out"
        elif last[path] != arguments:
            yield ("sent", path), f"is {_text(last[path])}"


def _people(expected: Expected, played: Played) -> Iterator[Miss]:
    questions = asked(played.stage)
    if expected.asked is not None and questions != list(expected.asked):
        yield ("asked",), f"is {', '.join(questions) or 'nobody'}"
    if expected.notifications is None:
        return
    sent = notifications(played.stage)
    for index, wanted in enumerate(expected.notifications):
        if index >= len(sent):
            yield ("notifications", index), "was not sent"
            continue
        for key in ("channel", "message", "severity"):
            value = getattr(wanted, key)
            if value is not None and sent[index].get(key) != value:
                yield ("notifications", index), f"{key} is {_text(sent[index].get(key))}"
    for more in sent[len(expected.notifications) :]:
        yield ("notifications",), f"there was one more: {more.get('channel')}: {more.get('message')}"


def _text(value: Any) -> str:
    return orjson.dumps(value).decode() if value is not None else "none"


_LOOKS: Final[Sequence[Callable[[Expected, Played], Iterator[Miss]]]] = (_end, _steps, _runs, _actions, _people)
