"""The cheapest possible action, found by workers as any plug-in is: by its entry point.

What is timed is everything around an action: hint, claim, policy, lock, fence, lease, settlement, advance, outbox.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from libs.actions import ActionContext, ActionResult, Arguments, Effect, action
from libs.actions.registry import GROUP

NAME: Final = "bench.nothing"


class Nothing(Arguments):
    """`ok` is False where a bench has to prove that it notices; `count` is how long a list is wanted."""

    ok: bool = True
    count: int = 0


@action(NAME, Nothing, effects=(Effect.IDEMPOTENT, Effect.READ))
async def nothing(arguments: Nothing, _context: ActionContext) -> ActionResult:
    """Do nothing, well."""
    await asyncio.sleep(0)
    if not arguments.ok:
        return ActionResult.failed("told_to_fail", "the arguments say so", effect_possible=False)
    return ActionResult.succeeded({"items": list(range(arguments.count))} if arguments.count else {"done": True})


def install(folder: Path) -> Path:
    """Make a distribution that registers the action, in a folder to be put on the Python path."""
    info = folder / "runbook_ranger_bench-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: runbook-ranger-bench\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{NAME} = {__name__}:nothing\n")
    return folder
