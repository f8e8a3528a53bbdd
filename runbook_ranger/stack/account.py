"""Who runs the servers: Postgres refuses root, and no server needs it."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

CANDIDATES = ("runbook-ranger", "postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A system user by number, with the name that its passwd entry gives it."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The unprivileged account that the servers get when we are root; None when we are not (they run as we do)."""
    if os.getuid() != 0:
        return None
    wished = os.environ.get("RR_RUN_AS")
    for name in (wished,) if wished else CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise LookupError(f"no unprivileged account among {wished or CANDIDATES}; name one in RR_RUN_AS")


def may_enter(path: Path, account: Account) -> bool:
    """Whether the account can pass through every folder down to and including this path (or file, to execute it)."""
    resolved = path.resolve()
    return all(_executable(part, account) for part in (resolved, *resolved.parents) if part.exists())


def _executable(path: Path, account: Account) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def hand_over(path: Path, account: Account | None) -> None:
    """Give one file or folder (not its contents) to the servers' account."""
    if account is not None:
        os.chown(path, account.uid, account.gid)
