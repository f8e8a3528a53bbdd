"""The product with nobody at the door: every question is answered yes, and none is put to an engine.

Only for `bench guarded`, which asks what policy costs. `install` has each Python process of a product open the door
before it does anything else, by what stands first on its path; nothing of the product knows of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from libs.common.ids import new_id
from libs.common.policy.model import ALL, RESTRICTED, Decision, Reason, Scope
from libs.common.policy.seam import Seam

NOBODY: Final = "nobody"
YES: Final = Reason("unguarded", "allow", "bench.unguarded", {})
EVERYTHING: Final = Scope(allow=True, tenants=ALL, environments=ALL, max_clearance=RESTRICTED)


def install(folder: Path) -> None:
    """Make the module that an interpreter imports by itself, in a folder that stands first on the Python path."""
    (folder / "sitecustomize.py").write_text(f"from {__name__} import open_door\n\nopen_door()\n")


def open_door() -> None:
    """From now on nobody is asked in this process."""
    Seam.decide = _decide  # type: ignore[assignment, method-assign]
    Seam.scope = _scope  # type: ignore[assignment, method-assign]


async def _decide(_seam: Seam, *_question: Any, **_options: Any) -> Decision:
    return Decision(new_id(), allow=True, reasons=(YES,), engine=NOBODY, revision="unguarded")


async def _scope(_seam: Seam, *_question: Any) -> Scope:
    return EVERYTHING
