"""Where a call stands in the author's file, so that a fault of a runbook built in Python is told with its line."""

import inspect
from itertools import islice
from types import CodeType, FrameType
from typing import Final

from libs.runbook.text import Position

_OWN: Final = __name__.rpartition(".")[0]


def origin() -> Position:
    """Line and column of the call that led into this package; (0, 0) where there is none, as at a prompt's end."""
    frame = inspect.currentframe()
    while frame is not None and _is_own(frame):
        frame = frame.f_back
    if frame is None:
        return (0, 0)
    return frame.f_lineno, _column(frame.f_code, frame.f_lasti)


def _is_own(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module == _OWN or module.startswith(f"{_OWN}.")


def _column(code: CodeType, instruction: int) -> int:
    """The column where a call begins, from 1: on a line of its own its name. An instruction is two bytes long."""
    place = next(islice(code.co_positions(), instruction // 2, None), None)
    return (place[2] or 0) + 1 if place else 1
