"""Runbooks written in Python: the same language, the same spec, the same hash, the same refusals as in YAML.

    runbook("restart-api").named("Restart the API").risk("low").check("probe", …).on_failure("page")….build()

Every method is a key of the language or a type of step; a name that is a word of Python has an underscore behind it
(`with_`, `from_`, `for_`). A method that says something about a step speaks of the one that was begun last. Nothing is
judged before `build`, which refuses with every problem at once, each with the line of the call that it comes from.
"""

from libs.runbook.builder.heads import RunbookBuilder, runbook
from libs.runbook.builder.sequences import Steps, steps

__all__ = ["RunbookBuilder", "Steps", "runbook", "steps"]
