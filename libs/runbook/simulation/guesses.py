"""Values that nobody said: an evaluator for a world in which the answers of some actions are left open.

An answer that was left open is marked (`OPEN_ANSWER`), so that evaluating stays a function of its arguments. What reads
one gets a value in its place: a text with its name, a number, a list of two. Whether a condition over it holds is
decided by `decide`, once for the same condition over the same values; without `decide` only a check's own expectation
has an answer, since what is not mentioned goes well, and anything else is `Unsaid`.

What reads the outputs of a step that has none, as it failed or was left out, is an error here as it is in earnest.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from libs.runbook.cel import compile_expression, evaluator, run
from libs.runbook.checked import Path
from libs.runbook.declared import declarations
from libs.runbook.expressions import Evaluate, ExpressionError, is_reference, parse, parse_reference
from libs.runbook.paths import name_of
from libs.runbook.spec import Runbook
from libs.runbook.steps import ActionStep, AnyStep, CheckStep, DecisionStep, LoopStep, WaitStep

OPEN_ANSWER: Final = "?"
PROBE: Final = "probe"
TOOK_EFFECT: Final = "took effect"
LIST: Final = ("<first>", "<second>")
_GUESSED: Final = frozenset(repr(item) for item in LIST)
Key: TypeAlias = tuple[str, ...]
Decide: TypeAlias = Callable[["Condition", Key], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a step: its `when`, its `expect`, that of its probe, or that of a branch."""

    step_id: str
    key: str
    source: str

    def __str__(self) -> str:
        return f"{self.key} of {self.step_id}"


class Unsaid(Exception):
    """A value is needed that the scenario does not say."""

    def __init__(self, source: str, steps: tuple[str, ...]) -> None:
        super().__init__(f"`{source[:80]}` needs what {', '.join(steps)} answered: say it under results")
        self.steps = steps


def open_answer(path: str, visit: int) -> dict[str, Any]:
    """The outputs of an action whose answer is left open."""
    return {OPEN_ANSWER: f"{path}#{visit}"}


def open_finding(path: str, visit: int, *, took_effect: bool) -> dict[str, Any]:
    """The outputs of a probe whose answer is left open, but for what it finds."""
    return {OPEN_ANSWER: f"{path}#{visit}#{TOOK_EFFECT if took_effect else ''}"}


def shown(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs without the mark."""
    return {name: value for name, value in outputs.items() if name != OPEN_ANSWER}


@dataclass
class Guesses:
    """The evaluator, for `Known`. `forced` are conditions that are said to hold, or not, whatever they read.

    `open_alert`: the alert was made up, so that what it lacks is left open, too.
    """

    spec: Runbook
    decide: Decide | None = None
    forced: Mapping[str, bool] = field(default_factory=dict)
    open_alert: bool = False

    def __post_init__(self) -> None:
        self._declared = declarations(self.spec)
        self._real: Evaluate = evaluator(self._declared, run)
        steps = [place.step for place in self.spec.graph.places.values()]
        self._conditions = {found.source: found for step in reversed(steps) for found in conditions(step)}
        self._kinds = {source: kind for step in steps for source, kind in _shapes(step)}
        self._paths: dict[str, tuple[Path, ...]] = {}

    def __call__(self, source: str, scope: Mapping[str, Any]) -> Any:
        """The value of an expression, said or guessed.

        Raises:
            ExpressionError: it has none.
            Unsaid: nobody said it, and it cannot be guessed.
        """
        if source in self.forced:
            return self.forced[source]
        paths = self._read(source)
        left_open = _open(paths, scope)
        condition = self._conditions.get(source)
        if left_open and condition is not None and condition.key == PROBE:
            return str(scope["outputs"][OPEN_ANSWER]).endswith(f"#{TOOK_EFFECT}")
        if condition is not None and self.decide is not None and not _settled(paths, scope):
            return self.decide(_of(condition, scope), (source, *(_identity(path, scope) for path in paths)))
        if left_open and condition is not None:
            return self._expected(condition, left_open)
        try:
            return self._real(source, scope)
        except ExpressionError:
            made_up = self.open_alert and any(path[0] == "alert" for path in paths)
            if not left_open and not made_up:
                raise
        return self._made_up(source, left_open)

    def _expected(self, condition: Condition, left_open: tuple[str, ...]) -> bool:
        own = condition.key == "expect" and all(name == "outputs" for name in left_open)
        if not own:
            raise Unsaid(condition.source, tuple(name for name in left_open if name != "outputs"))
        return True

    def _made_up(self, source: str, left_open: tuple[str, ...]) -> Any:
        kind = self._kinds.get(source)
        if kind is not None and self.decide is None:
            raise Unsaid(source, left_open)
        if kind is not None:
            return kind
        yields = "DYN" if is_reference(source) else compile_expression(source, self._declared).kind
        return {"BOOL": True, "INT": 1}.get(yields, f"<{_last(self._read(source))}>")

    def _read(self, source: str) -> tuple[Path, ...]:
        if source not in self._paths:
            self._paths[source] = self._compiled(source)
        return self._paths[source]

    def _compiled(self, source: str) -> tuple[Path, ...]:
        if is_reference(source):
            reference = parse_reference(source)
            return ((reference.root, *reference.path),)
        return compile_expression(source, self._declared).paths


def _of(condition: Condition, scope: Mapping[str, Any]) -> Condition:
    """The condition of the step at hand, where several steps have the same one."""
    answer = str(scope.get("outputs", {}).get(OPEN_ANSWER, ""))
    return replace(condition, step_id=name_of(answer.partition("#")[0])) if answer else condition


def conditions(step: AnyStep) -> Iterator[Condition]:
    """The conditions of a step."""
    if step.when is not None:
        yield Condition(step.id, "when", step.when)
    if isinstance(step, CheckStep):
        yield Condition(step.id, "expect", step.expect)
    if isinstance(step, ActionStep) and step.probe is not None:
        yield Condition(step.id, PROBE, step.probe.took_effect)
    if isinstance(step, DecisionStep):
        for branch in step.branches:
            yield Condition(step.id, f"branch to {branch.goto}", branch.when)


def _shapes(step: AnyStep) -> Iterator[tuple[str, Any]]:
    """Expressions whose value must have a certain shape, with one of that shape."""
    found: list[tuple[Any, Any, Any]] = []
    if isinstance(step, LoopStep):
        found.append((step.over, list(LIST), list(LIST)))
    if isinstance(step, WaitStep):
        found += [(step.duration, "1m", 1), (step.seconds, 60, 60), (step.until, "2026-01-01T00:01:00Z", "00")]
    for template, whole, part in found:
        if isinstance(template, str):
            parsed = parse(template)
            for expression in parsed.expressions:
                yield expression.source, whole if len(parsed.parts) == 1 else part


def _settled(paths: tuple[Path, ...], scope: Mapping[str, Any]) -> bool:
    """Whether the value is no matter of guessing: a step is read that has no outputs, or only a list as written."""
    absent = any(path[0] == "steps" and len(path) > 1 and path[1] not in scope.get("steps", {}) for path in paths)
    listed = all(path[0] == "each" and _identity(path, scope) not in _GUESSED for path in paths)
    return absent or listed


def _open(paths: tuple[Path, ...], scope: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps that are read and whose answer is left open; `outputs` stands for the step at hand."""
    found: dict[str, None] = {}
    for path in paths:
        if path[0] == "outputs" and OPEN_ANSWER in scope.get("outputs", {}):
            found["outputs"] = None
        if path[0] == "steps" and len(path) > 1:
            step = scope.get("steps", {}).get(path[1])
            if step is not None and OPEN_ANSWER in step["outputs"]:
                found[str(path[1])] = None
    return tuple(found)


def _identity(path: Path, scope: Mapping[str, Any]) -> str:
    """Tells equal values from others, for a path that is read; an open answer is equal to itself."""
    value: Any = scope
    for part in path:
        if isinstance(value, Mapping) and OPEN_ANSWER in value:
            return str(value[OPEN_ANSWER])
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return ""
    return repr(value)


def _last(paths: tuple[Path, ...]) -> str:
    named = [str(part) for path in paths for part in path if isinstance(part, str)]
    return named[-1] if named else "value"
