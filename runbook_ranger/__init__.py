"""The public face: `rangerctl`, the embedded stack, the demo, and what authors import.

    from runbook_ranger import action, runbook, steps

`runbook` begins a runbook in Python, `steps` a branch or a loop's body; `Runbook` is the spec that both Python and YAML
become, `load` reads YAML, `RunbookInvalid` says what is wrong. `action` makes a function an action of a plug-in.
Names are imported when they are asked for: the command line starts without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from libs.actions import action
    from libs.runbook.builder import RunbookBuilder, Steps, runbook, steps
    from libs.runbook.loader import load
    from libs.runbook.problems import RunbookInvalid
    from libs.runbook.spec import Runbook

__all__ = ["Runbook", "RunbookBuilder", "RunbookInvalid", "Steps", "action", "load", "runbook", "steps"]
_HOMES: Final = {
    "Runbook": "libs.runbook.spec",
    "RunbookBuilder": "libs.runbook.builder",
    "RunbookInvalid": "libs.runbook.problems",
    "Steps": "libs.runbook.builder",
    "action": "libs.actions",
    "load": "libs.runbook.loader",
    "runbook": "libs.runbook.builder",
    "steps": "libs.runbook.builder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
