"""Objects in a folder: each is a new file that is synced before it gets its name.

Names with a `#` are the store's own, and nobody lists them: what is being written, and locks of who replaces.
"""

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_numbers: Final = itertools.count(1)


def write(path: Path, data: bytes, *, new: bool) -> bool:
    """A file whose name must be free (by a link) or may be taken (by a rename).

    Returns False where it had to be free and is not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}#{os.getpid()}{next(_numbers)}")  # obstore lists no name of this form
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            (os.link if new else os.replace)(partial, path)
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    with _opened(path.parent) as descriptor:
        os.fsync(descriptor)
    return True


def swap(path: Path, data: bytes, was: bytes) -> bool:
    """Replace a file that holds `was`; False where it does not any more. Whoever else swaps it waits meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}#0").open("ab") as lock:  # the kernel lets go of it when its holder dies
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            return False
        return found == was and write(path, data, new=False)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
