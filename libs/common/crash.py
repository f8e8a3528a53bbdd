"""Named crash points: `RR_CRASH_AT=after_claim` ends the process there as `kill -9` would.

`RR_CRASH_ONCE=FILE` crashes only while FILE does not exist and creates it, so that the restarted process goes on.
Without `RR_CRASH_AT` a point costs one comparison.
"""

import os
from pathlib import Path
from typing import Final

EXIT_CODE: Final = 137
_AT: str = os.environ.get("RR_CRASH_AT", "")


def rearm() -> None:
    """Read the variables again: a forked process has its own."""
    global _AT  # noqa: PLW0603 — a process has one crash point, set where it is forked
    _AT = os.environ.get("RR_CRASH_AT", "")


def crash_point(name: str) -> None:
    """End the process here when this point is named; nothing is flushed, closed or handed back."""
    if name != _AT:
        return
    marker = os.environ.get("RR_CRASH_ONCE")
    if marker:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return
    os._exit(EXIT_CODE)
