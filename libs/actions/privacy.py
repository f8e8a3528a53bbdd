"""A worker hides its own environment from the commands that it starts."""

from __future__ import annotations

import ctypes
import sys

PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4


def hide_process() -> bool:
    """Make `/proc/<pid>/environ`, memory and core dumps of this process unreadable for others of the same user.

    True when it holds. Commands run as the worker's user and could otherwise read the credentials it was started
    with. It does not hold against root: a worker that runs as root shows root's commands everything. Only on Linux.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0)
