"""Starting a process that cannot outlive us: own session, minimal environment, bound to its parent's life."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runbook_ranger.stack.account import Account

PR_SET_PDEATHSIG = 1
UMASK = 0o077
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def bind_to_parent(parent: int, number: int) -> None:
    """Ask the kernel to signal us when the parent's spawning thread ends; end at once if the parent is gone already.

    Must run after any change of user: changing credentials clears the wish. Elsewhere than on Linux it does nothing,
    and the records of `identity` find the orphans at the next start.
    """
    if LIBC is None:
        return
    LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def minimal_environment(**more: str) -> dict[str, str]:
    """What any server needs and nothing of ours: no token, no proxy, no Python setting leaks into it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/", **more}


def _binder(number: int) -> Callable[[], None]:
    parent = os.getpid()
    return lambda: bind_to_parent(parent, number)


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    output: int,
    account: Account | None = None,
    keep: Sequence[int] = (),
    cwd: Path | None = None,
    on_parent_death: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to the descriptor `output`; `keep` lists descriptors that it inherits.

    Call it from the main thread: the parent-death signal belongs to the spawning thread.
    """
    return subprocess.Popen(  # noqa: S603 -- commands are built from our own constants and paths
        list(command),
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=cwd or "/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        pass_fds=tuple(keep),
        start_new_session=True,
        umask=UMASK,
        preexec_fn=_binder(on_parent_death),  # noqa: PLW1509 -- the caller has no thread that could hold a lock
    )


def run_as(command: Sequence[str], account: Account | None, log: Path) -> int:
    """Run a program to its end under an account, its output appended to `log`; returns its exit code."""
    output = open_log(log)
    try:
        return spawn(command, env=minimal_environment(), output=output, account=account).wait()
    finally:
        os.close(output)


def open_log(path: Path, limit: int = 8 << 20) -> int:
    """A log opened for appending; one that has outgrown `limit` bytes moves aside to `.1` first."""
    if path.exists() and path.stat().st_size > limit:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
