"""What conditions and templates of one execution may refer to, and the function that evaluates them."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from libs.runbook.expressions import Evaluate, ExpressionError, NotText, evaluate_reference, render
from libs.runbook.frame import Frame
from libs.runbook.planning import PlanFacts
from libs.runbook.rendering import scope_of


class NotBoolean(ExpressionError):
    """A condition yields something that is neither true nor false: never read as either."""


class Known(Struct, frozen=True):
    """The resolved inputs and the occasion: the same for every fact of an execution, as in its plan.

    `evaluate` must be a function of its arguments, and raise `ExpressionError` for whatever has no value; without it,
    `advance` takes the one of the runbook, which refuses what could take long (`declared.evaluator_of`).
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)
    facts: PlanFacts = field(default_factory=PlanFacts)
    evaluate: Evaluate | None = None

    def scope(self, frame: Frame, outputs: Mapping[str, Any] | None = None, *, path: str = "") -> dict[str, Any]:
        """What the step of that path can name now; `outputs` are its own, once it has some."""
        scope = scope_of(self.inputs, self.facts, frame, path)
        return scope if outputs is None else {**scope, "outputs": outputs}

    def holds(self, condition: str, scope: Mapping[str, Any]) -> bool:
        """Whether a condition holds.

        Raises:
            ExpressionError: it has no value here, or its value is no boolean.
        """
        value = self.expression(condition, scope)
        if value is True or value is False:
            return value
        raise NotBoolean(f"`{condition[:80]}` is neither true nor false")

    def expression(self, source: str, scope: Mapping[str, Any]) -> Any:
        """The value of a bare expression.

        Raises:
            ExpressionError: it has none here.
        """
        return (self.evaluate or evaluate_reference)(source, scope)

    def value(self, template: Any, scope: Mapping[str, Any]) -> Any:
        """A template's value.

        Raises:
            ExpressionError: a part of it has no value here.
        """
        return render(template, scope, self.evaluate)

    def text(self, template: str, scope: Mapping[str, Any]) -> str:
        """A template's value that people read.

        Raises:
            ExpressionError: a part of it has no value here, or it is no text.
        """
        value = self.value(template, scope)
        if not isinstance(value, str) or not value or "\x00" in value:
            raise NotText("must be text with at least one character")
        return value
