"""Named crash points: `RR_CRASH_AT=after_claim` ends the process there as `kill -9` would.

`RR_CRASH_ONCE=FILE` crashes only while FILE does not exist and creates it, so that the restarted process goes on.
`RR_CRASH_ORDER=FILE` names the point in a file instead, which is removed by the crash: one running stack can be told
to crash again and again. Without these variables a point costs one comparison.
"""

import os
from pathlib import Path
from typing import Final

EXIT_CODE: Final = 137
_AT: str = os.environ.get("RR_CRASH_AT", "")
_ORDER: str = os.environ.get("RR_CRASH_ORDER", "")


def rearm() -> None:
    """Read the variables again: a forked process has its own."""
    global _AT, _ORDER  # noqa: PLW0603 — a process has one crash point, set where it is forked
    _AT = os.environ.get("RR_CRASH_AT", "")
    _ORDER = os.environ.get("RR_CRASH_ORDER", "")


def crash_point(name: str) -> None:
    """End the process here when this point is named; nothing is flushed, closed or handed back."""
    if name == _AT:
        _crash_once()
    elif _ORDER:
        _obey(name)


def _crash_once() -> None:
    marker = os.environ.get("RR_CRASH_ONCE")
    if marker:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return
    os._exit(EXIT_CODE)


def _obey(name: str) -> None:
    """Of several processes that share an order, the one that removes it crashes."""
    order = Path(_ORDER)
    try:
        if order.read_text() != name:
            return
        order.unlink()
    except FileNotFoundError:
        return
    os._exit(EXIT_CODE)
