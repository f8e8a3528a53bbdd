"""Sequences of steps: those of a runbook, of a branch, of a loop's iterations."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

from libs.runbook.builder.origins import origin
from libs.runbook.text import Path, Position

Fault: TypeAlias = tuple[Path, str, Position]


class Steps:
    """Steps, one after the other. Each method returns the same object, so that calls follow each other.

    `data` is what a YAML file would hold, `places` where each value was said, `faults` what could not be said.
    """

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.places: dict[Path, Position] = {}
        self.faults: list[Fault] = []

    # ---- types of steps

    def action(
        self,
        step_id: str,
        name: str | None = None,
        action: str | None = None,
        *,
        with_: Mapping[str, Any] | None = None,
        effect: str | None = None,
        resource: str | None = None,
        **keys: Any,
    ) -> Self:
        """One action, such as `http.request`; `effect` says what a second execution would do."""
        own = {"action": action, "with": with_, "effect": effect, "resource": resource}
        return self._begin("action", step_id, name, own | keys)

    def check(
        self,
        step_id: str,
        name: str | None = None,
        action: str | None = None,
        *,
        expect: str | None = None,
        with_: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> Self:
        """A condition over what an action answers, or over what is known without one."""
        return self._begin("check", step_id, name, {"action": action, "with": with_, "expect": expect} | keys)

    def notify(
        self, step_id: str, name: str | None = None, message: str | None = None, *, channel: str | None = None,
        severity: str | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """A message to a channel."""
        own = {"channel": channel, "message": message, "severity": severity}
        return self._begin("notify", step_id, name, own | keys)

    def wait(
        self, step_id: str, name: str | None = None, for_: str | None = None, *, seconds: int | str | None = None,
        until: str | None = None, event: str | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """A time that passes, a moment that comes, or an event."""
        return self._begin(
            "wait", step_id, name, {"for": for_, "seconds": seconds, "until": until, "event": event} | keys
        )

    def manual(
        self, step_id: str, name: str | None = None, instructions: str | None = None, *,
        form: Mapping[str, Any] | None = None, evidence: str | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """What a person does and confirms."""
        own = {"instructions": instructions, "form": form, "evidence": evidence}
        return self._begin("manual", step_id, name, own | keys)

    def approval(
        self, step_id: str, name: str | None = None, prompt: str | None = None, *, expires: str | None = None,
        approvers: str | Sequence[str] | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """A question about the whole plan; `needs_approval` asks about one action."""
        own = {"prompt": prompt, "expires": expires, "approvers": approvers}
        return self._begin("approval", step_id, name, own | keys)

    def decision(self, step_id: str, name: str | None = None, **keys: Any) -> Self:
        """A choice between later steps: `branch` for each, then `otherwise`."""
        return self._begin("decision", step_id, name, keys)

    def parallel(
        self, step_id: str, name: str | None = None, branches: "Mapping[str, Steps] | None" = None, *,
        join: str | int | None = None, failures: str | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """Branches side by side, each a sequence made with `steps()`."""
        self._begin("parallel", step_id, name, {"join": join, "failures": failures} | keys)
        self._put("branches", {branch: inner.data for branch, inner in (branches or {}).items()})
        for branch, inner in (branches or {}).items():
            self._take_in(inner, ("branches", branch))
        return self

    def loop(
        self, step_id: str, name: str | None = None, over: str | Sequence[Any] | None = None,
        each: "Steps | None" = None, *, concurrency: int | None = None, limit: int | None = None,
        failures: str | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """The same steps, made with `steps()`, once for each of a list; in them `each.item` is known."""
        own = {"over": over, "concurrency": concurrency, "limit": limit, "failures": failures}
        self._begin("loop", step_id, name, own | keys)
        if each is not None:
            self._put("steps", each.data)
            self._take_in(each, ("steps",))
        return self

    # ---- what every step may say

    def when(self, condition: str) -> Self:
        """Without it holding, the step is left out."""
        return self._say(when=condition)

    def requires_firing(self, required: bool = True) -> Self:
        """Left out once the alert has ended."""
        return self._say(requires_firing=required)

    def on_success(self, step_id: str) -> Self:
        """The later step that follows a success, or `end`."""
        return self._say(on_success=step_id)

    def on_failure(self, way: str) -> Self:
        """The later step that follows a failure, or `stop`, `continue` or `ask`."""
        return self._say(on_failure=way)

    def describe(self, text: str) -> Self:
        """What people should know of the step."""
        return self._say(description=text)

    # ---- what some steps may say

    def timeout(self, duration: str) -> Self:
        """How long one attempt, a person or an event is waited for."""
        return self._say(timeout=duration)

    def retry(
        self, attempts: int, *, backoff: str | None = None, delay: str | None = None, max_delay: str | None = None,
        jitter: str | None = None, on: str | Sequence[str] | None = None,
    ) -> Self:  # fmt: skip
        """How often it is tried, first attempt included."""
        more = {"backoff": backoff, "delay": delay, "max_delay": max_delay, "jitter": jitter, "on": on}
        return self._say(retry=given({"attempts": attempts} | more))

    def capture(self, **expressions: str) -> Self:
        """Names parts of what the action answered, as outputs of the step."""
        return self._say(capture=expressions)

    def needs_approval(
        self, prompt: str | None = None, *, expires: str | None = None,
        approvers: str | Sequence[str] | None = None, **keys: Any,
    ) -> Self:  # fmt: skip
        """Asks somebody before this one step is carried out; `keys` are the others of an approval (`quorum`, ...)."""
        return self._say(approval=given({"prompt": prompt, "expires": expires, "approvers": approvers} | keys))

    def rollback(
        self, action: str, *, with_: Mapping[str, Any] | None = None, effect: str | None = None,
        timeout: str | None = None,
    ) -> Self:  # fmt: skip
        """The action that takes the step back."""
        return self._say(rollback=given({"action": action, "with": with_, "effect": effect, "timeout": timeout}))

    def probe(
        self, action: str, *, took_effect: str, with_: Mapping[str, Any] | None = None, timeout: str | None = None
    ) -> Self:
        """How it is found out whether the step took effect, when nobody knows."""
        own = {"action": action, "with": with_, "took_effect": took_effect, "timeout": timeout}
        return self._say(probe=given(own))

    def branch(self, when: str, goto: str) -> Self:
        """Where a decision leads if the condition holds; the first that holds is taken."""
        if not self.data or self.data[-1]["type"] != "decision":
            return self._refuse(("branch",), "belongs to a decision; begin one first")
        branches = self.data[-1].setdefault("branches", [])
        branches.append({"when": when, "goto": goto})
        self._mark(("branches", len(branches) - 1))
        return self

    def otherwise(self, goto: str) -> Self:
        """Where a decision leads if no condition holds: a later step, `end` or `fail`."""
        return self._say(otherwise=goto)

    def having(self, **keys: Any) -> Self:
        """Any other key of the step, as YAML would have it: `target={"tags": {"url": …}}`, `irreversible=True`."""
        return self._say(**keys)

    # ---- how it is kept

    def _begin(self, kind: str, step_id: str, name: str | None, keys: Mapping[str, Any]) -> Self:
        self.data.append({"id": step_id, "type": kind, **given({"name": name, **keys})})
        self._mark(())
        return self

    def _say(self, **keys: Any) -> Self:
        for key, value in keys.items():
            if not self.data:
                self._refuse((key,), "belongs to a step; begin one first")
            elif key in self.data[-1]:
                self._refuse((len(self.data) - 1, key), "is said twice")
            else:
                self._put(key, value)
        return self

    def _put(self, key: str, value: Any) -> None:
        self.data[-1][key] = value
        self._mark((key,))

    def _mark(self, below: Path) -> None:
        if self.data:
            self.places[len(self.data) - 1, *below] = origin()

    def _refuse(self, path: Path, message: str) -> Self:
        self.faults.append((path, message, origin()))
        return self

    def _take_in(self, inner: "Steps", below: Path) -> None:
        """The places and faults of a sequence inside this one's last step."""
        here = len(self.data) - 1
        self.places |= {(here, *below, *path): place for path, place in inner.places.items()}
        self.faults += [((here, *below, *path), message, place) for path, message, place in inner.faults]


def steps() -> Steps:
    """A sequence for a branch of `parallel`, or for the iterations of `loop`."""
    return Steps()


def given(keys: Mapping[str, Any]) -> dict[str, Any]:
    """What was said: a key that was left out stays out, so that the spec is the one that YAML would give."""
    return {key: value for key, value in keys.items() if value is not None}
