"""A plug-in's action, loaded by its entry point in tests."""

from __future__ import annotations

import asyncio

from libs.actions import ActionContext, ActionResult, Arguments, Effect, action


class Greeting(Arguments):
    """Whom to greet."""

    name: str


@action("demo.greet", Greeting, effects=(Effect.READ,))
async def greet(arguments: Greeting, _context: ActionContext) -> ActionResult:
    """Say hello."""
    await asyncio.sleep(0)
    return ActionResult.succeeded({"text": f"hello {arguments.name}"})
