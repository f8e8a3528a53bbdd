"""A runbook's own variables, and the function that evaluates its templates."""

from libs.runbook.cel import Declarations, Elsewhere, evaluator
from libs.runbook.expressions import Evaluate
from libs.runbook.spec import Runbook


def declarations(spec: Runbook) -> Declarations:
    """What the expressions of a runbook may name, with types."""
    return Declarations.of({name: declared.type for name, declared in spec.inputs.items()})


def evaluator_of(spec: Runbook, elsewhere: Elsewhere | None = None) -> Evaluate:
    """The function that `render_action` and `make_plan` take.

    Without `elsewhere` an expression that could take long or grow large is an error (`MustRunElsewhere`).
    """
    return evaluator(declarations(spec), elsewhere)
