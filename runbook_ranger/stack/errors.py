"""What the embedded stack refuses, and why.

    StackError
    ├── AlreadyRunningError     another `up` holds the data directory
    ├── BinaryMissingError      no usable server binary, in the environment or on PATH
    ├── StoreBusyError          a server's store is still locked by an earlier server's last process
    ├── ServerFailedError       a server did not become ready
    ├── DataVersionError        the data directory was made by another major version
    ├── DriftError              existing configuration differs from what is wanted
    ├── EpochMismatchError      Postgres and JetStream do not belong to the same history
    └── NotRunningError         there is nothing to ask or to stop

Each carries its data; the text tells a person what to do next.
"""

from dataclasses import dataclass
from pathlib import Path


class StackError(Exception):
    """A refusal that a person can act on; `rangerctl` prints it without a traceback."""


class AlreadyRunningError(StackError):
    """Another supervisor owns this data directory."""

    def __init__(self, root: Path, pid: int | None) -> None:
        self.root, self.pid = root, pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"{root} is in use by {owner}; stop it with `rangerctl down`, or choose another --data-dir")


class BinaryMissingError(StackError):
    """No binary of the wanted version."""

    def __init__(self, server: str, wanted: str, tried: list[str]) -> None:
        self.server, self.wanted, self.tried = server, wanted, tried
        found = "; ".join(tried) or "nothing found"
        super().__init__(f"{server} {wanted} is needed ({found}); install the project's wheels or put one on PATH")


class StoreBusyError(StackError):
    """Some descendant of an earlier server still holds the store; it may be tried again shortly."""

    def __init__(self, server: str) -> None:
        self.server = server
        super().__init__(f"the store of {server} is still in use by an earlier process")


class ServerFailedError(StackError):
    """A server ended or stayed silent while it was awaited."""

    def __init__(self, server: str, reason: str, log: Path) -> None:
        self.server, self.reason, self.log = server, reason, log
        super().__init__(f"{server} did not start: {reason}; see {log}")


class DataVersionError(StackError):
    """Data of another major version are never opened and never deleted."""

    def __init__(self, server: str, found: str, wanted: str, data: Path) -> None:
        self.server, self.found, self.wanted = server, found, wanted
        super().__init__(f"{data} was made by {server} {found}, this is {wanted}: dump and restore, or keep {found}")


@dataclass(frozen=True)
class Difference:
    """One field of one object that is not as wanted."""

    what: str
    field: str
    found: object
    wanted: object
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.field} is {self.found!r}, wanted {self.wanted!r} -> {self.remedy}"


class DriftError(StackError):
    """Provisioning never rewrites what exists; every difference is named with its remedy."""

    def __init__(self, differences: list[Difference]) -> None:
        self.differences = differences
        super().__init__("configuration has drifted:\n  " + "\n  ".join(map(str, differences)))


class EpochMismatchError(StackError):
    """A stream and the epoch table were not written by the same history (one of them was restored)."""

    def __init__(self, stream: str, in_stream: int, in_table: int) -> None:
        self.stream, self.in_stream, self.in_table = stream, in_stream, in_table
        super().__init__(
            f"stream {stream} says epoch {in_stream}, public.stream_epoch says {in_table}: one of them was restored "
            f"from another time; restore its counterpart, or start the stream anew with "
            f"`rangerctl provision --renew {stream}`, which fills it again"
        )


class NotRunningError(StackError):
    """No supervisor runs on this data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        super().__init__(f"nothing is running on {root}; start it with `rangerctl up`")
