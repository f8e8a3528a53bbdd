"""A whole runbook: what stands above its steps, and how it becomes a spec."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from libs.runbook.builder import writing
from libs.runbook.builder.origins import origin
from libs.runbook.builder.sequences import Steps, given
from libs.runbook.loader import Loaded, judged
from libs.runbook.problems import Problem, RunbookInvalid, dotted
from libs.runbook.spec import API_VERSION, Runbook
from libs.runbook.text import Document, Path, Position, read


class RunbookBuilder(Steps):
    """A runbook as it is being written. `build` gives the spec, `to_yaml` the text that can be published."""

    def __init__(self, runbook_id: str) -> None:
        super().__init__()
        self._head: dict[str, Any] = {"apiVersion": API_VERSION, "id": runbook_id}
        self._said: dict[Path, Position] = {(): origin()}
        self._faults: list[Problem] = []
        self._inputs: dict[str, Any] = {}
        self._triggers: list[dict[str, Any]] = []

    def named(self, name: str) -> Self:
        """The name that people read."""
        return self.runbook_having(name=name)

    def described(self, text: str) -> Self:
        """What people should know of the runbook."""
        return self.runbook_having(description=text)

    def tagged(self, *tags: str) -> Self:
        """Words to find it by."""
        return self.runbook_having(tags=list(tags))

    def risk(self, risk: str) -> Self:
        """low, medium or high."""
        return self.runbook_having(risk=risk)

    def mode(self, mode: str) -> Self:
        """auto, approve or suggest; `auto` if it is not said."""
        return self.runbook_having(mode=mode)

    def deadline(self, duration: str) -> Self:
        """What has not begun by then does not begin."""
        return self.runbook_having(deadline=duration)

    def verify(
        self, *, alert: str | None = None, within: str | None = None, checks: Sequence[str] | None = None
    ) -> Self:
        """How success is seen."""
        said = {"alert": alert, "within": within, "checks": checks}
        return self.runbook_having(verify=given(said))

    def on_failed(self, way: str) -> Self:
        """stop, or rollback: what was changed is taken back, the last change first."""
        return self.runbook_having(on_failed=way)

    def concurrency(self, key: str, policy: str, *, limit: int | None = None) -> Self:
        """How many executions with this key live at once, and what becomes of one more: queue, reject or replace."""
        return self.runbook_having(concurrency=given({"key": key, "policy": policy, "limit": limit}))

    def rate_limit(self, executions: int, per: str, *, key: str | None = None) -> Self:
        """At most so many executions within that time."""
        return self.runbook_having(rate_limit=given({"executions": executions, "per": per, "key": key}))

    def budget(self, resources: int, window: str, *, key: str | None = None) -> Self:
        """At most so many distinct resources are changed within that time."""
        return self.runbook_having(budget=given({"resources": resources, "window": window, "key": key}))

    def cooldown(self, duration: str) -> Self:
        """How long a resource rests after it was changed."""
        return self.runbook_having(cooldown=duration)

    def breaker(self, failures: int, window: str) -> Self:
        """After so many failures on a resource within that time, a person must let it be changed again."""
        return self.runbook_having(breaker={"failures": failures, "window": window})

    def escalation(self, *channels: str, message: str | None = None, severity: str | None = None) -> Self:
        """Who is told when an execution has failed."""
        said = {"channels": list(channels), "message": message, "severity": severity}
        return self.runbook_having(escalation=given(said))

    def input(self, name: str, type: str | None = None, *, from_: str | None = None, **keys: Any) -> Self:  # noqa: A002
        """A value that a run needs: `type`, `from_`, `default`, `required`, `one_of`, `description`."""
        said = {"type": type, "from": from_} | keys
        if name in self._inputs:
            return self._wrong(("inputs", name), "is said twice")
        self._inputs[name] = given(said)
        self._said["inputs", name] = origin()
        return self

    def trigger(
        self, alert: str | Sequence[str] | None = None, *, severity: str | Sequence[str] | None = None,
        labels: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Self:  # fmt: skip
        """An occasion for which it is meant; one of several may fit."""
        said = {"alert": alert, "severity": severity, "labels": labels}
        self._said["triggers", len(self._triggers)] = origin()
        self._triggers.append(given(said))
        return self

    def runbook_having(self, **keys: Any) -> Self:
        """Any other key of the runbook, as YAML would have it."""
        for key, value in keys.items():
            if key in self._head:
                self._wrong((key,), "is said twice")
            else:
                self._head[key] = value
                self._said[key,] = origin()
        return self

    def start_with(self, step_id: str) -> Self:
        """Says where it begins, which is the first step: refused if it is another."""
        if not self.data or self.data[0]["id"] != step_id:
            self._wrong(("steps",), f"begin with their first one; put '{step_id}' there")
        return self

    def to_data(self) -> dict[str, Any]:
        """What the YAML holds, judged or not."""
        parts = {"inputs": self._inputs, "triggers": self._triggers}
        head = {"mode": "auto", **self._head}
        order = ("apiVersion", "id", "name", "description", "tags", "risk", "mode")
        first = {key: head.pop(key) for key in order if key in head}
        return {**first, **{key: part for key, part in parts.items() if part}, **head, "steps": self.data}

    def to_yaml(self) -> str:
        """The runbook's text.

        Raises:
            RunbookInvalid: as `load`.
        """
        return self.load().source

    def build(self) -> Runbook:
        """The spec: the one that the YAML gives, with the same hash.

        Raises:
            RunbookInvalid: as `load`.
        """
        return self.load().spec

    def load(self) -> Loaded:
        """Spec, hash and text.

        Raises:
            RunbookInvalid: lists every problem, each with the line and column of the call that it comes from.
        """
        places, unsayable = self._places(), self._unsayable()
        try:
            text = writing.write(self.to_data())
            document = read(text)
        except RunbookInvalid as error:
            raise RunbookInvalid([*(_moved(problem, places) for problem in error.problems), *unsayable]) from None
        try:
            found = judged(Document(document.data, places), text)
        except RunbookInvalid as error:
            raise RunbookInvalid([*error.problems, *unsayable]) from None
        if unsayable:
            raise RunbookInvalid(unsayable)
        return found

    def _wrong(self, path: Path, message: str) -> Self:
        self._faults.append(Problem(dotted(path), message, *origin()))
        return self

    def _unsayable(self) -> list[Problem]:
        """What was said and cannot be, whatever the rest is."""
        return [
            *self._faults,
            *(Problem(dotted(("steps", *path)), message, *place) for path, message, place in self.faults),
        ]

    def _places(self) -> dict[Path, Position]:
        return self._said | {("steps", *path): place for path, place in self.places.items()}


def runbook(runbook_id: str) -> RunbookBuilder:
    """Begins a runbook of that id."""
    return RunbookBuilder(runbook_id)


def _moved(problem: Problem, places: Mapping[Path, Position]) -> Problem:
    """A problem of the text, at the call that the text comes from."""
    around = [path for path in places if problem.path.startswith(dotted(path))]
    place = places[max(around, key=lambda path: len(dotted(path)))]
    return Problem(problem.path, problem.message, *place)
