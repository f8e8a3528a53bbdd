"""Waiting for an execution in the caller's name: asked at growing intervals, for a bounded time."""

import asyncio
from typing import Any, Final

from libs.common.errors import Unavailable
from services.gateway.asking import Asking

MAX_WAIT_SECONDS: Final = 60
FIRST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 1.0
GROWTH: Final = 1.5
LOOK_SECONDS: Final = 5.0
RESTING: Final = frozenset({"completed", "failed", "aborted", "blocked"})
"""It has ended, or somebody has to act before it goes on."""


async def until_resting(ask: Asking, started: dict[str, Any], seconds: float) -> tuple[bool, dict[str, Any]]:
    """Whether the execution came to rest within `seconds`, and how it stood when it was last seen.

    An executor that does not answer for a moment is asked again.
    """
    question = {"execution_id": started["execution_id"]}
    loop = asyncio.get_running_loop()
    deadline, pause, found = loop.time() + seconds, FIRST_SECONDS, started
    while (left := deadline - loop.time()) > 0:
        try:
            found = await ask.content("executor", "get", question, timeout=min(left, LOOK_SECONDS))
        except Unavailable:
            pause = LONGEST_SECONDS
        if found["state"] in RESTING and found is not started:
            return True, found
        await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
        pause = min(pause * GROWTH, LONGEST_SECONDS)
    return False, found
