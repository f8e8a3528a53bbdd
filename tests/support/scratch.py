"""Where the servers of tests keep their files: in memory where there is plenty of it, as most write and none keeps any.

A killed process loses nothing that it wrote, on a disk or in memory; what a power failure leaves is examined nowhere.
"""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- folders of our own are made in it, as in the other
DISK: Final = Path("/tmp")  # noqa: S108 -- sockets need short paths, which the user's own folder may not have
PLENTY: Final = 6 << 30  # four sessions at once with their stacks, twice
MARK: Final = ".scratch"
YOUNG_SECONDS: Final = 60


def folder(prefix: str) -> Path:
    """A new folder with a short path, from which programs can be started; its maker removes it.

    What a maker left that was killed is removed by the next one, so that it does not fill the memory.
    """
    place = MEMORY if _suits(MEMORY) else DISK
    for mark in place.glob(f"rr-*/{MARK}"):
        _remove_left(mark)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    fcntl.flock(os.open(made / MARK, os.O_CREAT | os.O_RDONLY), fcntl.LOCK_SH)  # until this process ends
    return made


def _suits(place: Path) -> bool:
    try:
        may_run = not os.statvfs(place).f_flag & os.ST_NOEXEC
        return may_run and os.access(place, os.W_OK) and shutil.disk_usage(place).free > PLENTY
    except OSError:
        return False


def _remove_left(mark: Path) -> None:
    try:
        if time.time() - mark.stat().st_mtime < YOUNG_SECONDS:
            return  # perhaps made just now, and not locked yet
        found = os.open(mark, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(mark.parent, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(found)
