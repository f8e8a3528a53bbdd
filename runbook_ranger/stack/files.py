"""Files that are whole or absent, private by default, and locks that the kernel lets go of."""

import fcntl
import os
import secrets
from pathlib import Path

PRIVATE = 0o600


def write_atomically(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Readers see the old text or the new one, never a part; survives a crash of this process at any point."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    fresh.replace(path)


def keep_secret(path: Path) -> str:
    """The secret kept in this file (0600), made at random the first time."""
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def try_lock(path: Path) -> int | None:
    """An exclusive lock on a file as an open descriptor; None while someone else, anywhere, holds it.

    The kernel keeps the lock until the last process that inherited the descriptor has closed it or died.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
