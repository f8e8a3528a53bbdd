"""A worker reduced to one `shell.run`: `python -m tests.support.shell_worker <seconds> <lease until> <argv…>`.

The lease ends at a `time.monotonic()`, which all processes of a machine share. Prints the result's error code, or "ok",
as its only line; a test kills or stops it before that.
"""

from __future__ import annotations

import asyncio
import sys
import time

from libs.actions import ActionContext, Effect, Egress, Lease, invoke
from libs.actions.addresses import EgressPolicy
from libs.actions.shell_policy import ShellPolicy
from libs.actions.shell_run import ShellRun


async def work(seconds: float, lease_until: float, argv: list[str]) -> str:
    """Run the command and say how it ended."""
    context = ActionContext(
        idem_key="k",
        fence=1,
        execution_id="e",
        step_path="s",
        attempt=1,
        effect=Effect.UNSAFE,
        deadline=time.monotonic() + seconds,
        egress=Egress(EgressPolicy()),
        lease=Lease(lease_until),
        shell=ShellPolicy.of("sh,python3,sleep"),
    )
    return (await invoke(ShellRun(), {"argv": argv}, context)).error_code or "ok"


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(work(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])) + "\n")
