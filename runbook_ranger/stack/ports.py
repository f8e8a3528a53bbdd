"""Loopback ports, chosen once and kept in `ports.json`.

They are taken below the range from which the kernel gives out source ports: a client that keeps dialling a dead
server on a port inside that range can end up connected to itself, and then the server cannot come back.
"""

import json
import os
import random
import socket
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runbook_ranger.stack.files import try_lock, write_atomically

LOWEST = 20000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 200
_held: Final[dict[int, tuple[Path, int]]] = {}
"""The ports that this process holds: for which file, and the descriptor of the lock."""


@dataclass
class Ports:
    """The ports of one stack by name. `running`: the stack runs, so that its ports are taken by itself."""

    path: Path
    kept: dict[str, int] = field(default_factory=dict)
    running: bool = False

    @classmethod
    def load(cls, path: Path, *, running: bool = False) -> "Ports":
        """Ports as they were chosen; none yet when the file is missing."""
        return cls(path, json.loads(path.read_text()) if path.exists() else {}, running)

    def claim(self, name: str, prefer: int | None = None) -> int:
        """The port of this name: the kept one unless a stranger has it, otherwise a free one, kept from now on."""
        port = self.kept.get(name)
        if port is None or not (self.running or self._takes(port)):
            taken = set(self.kept.values())
            port = prefer if prefer and prefer not in taken and self._takes(prefer) else self._choose(taken)
            self.kept[name] = port
            write_atomically(self.path, json.dumps(self.kept, indent=1, sort_keys=True))
        return port

    def release(self) -> None:
        """Hold none of them any more: another process is to take them."""
        for port, (path, descriptor) in list(_held.items()):
            if path == self.path:
                os.close(descriptor)
                del _held[port]

    def _takes(self, port: int) -> bool:
        """Whether the port is nobody else's; it is ours from now on."""
        if port not in _held:
            try:
                descriptor = _lock_of(port)
            except OSError:  # somebody else's folder: what can be seen has to do
                return is_free(port)
            if descriptor is None:
                return False
            _held[port] = self.path, descriptor
        return _held[port][0] == self.path and is_free(port)

    def _choose(self, taken: set[int]) -> int:
        """A free port outside the ephemeral range; raises OSError when the machine has none to give."""
        highest = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32768
        for _ in range(TRIES):
            port = random.randint(LOWEST, max(highest - 1, LOWEST + 2000))  # noqa: S311 -- not a secret
            if port not in taken and self._takes(port):
                return port
        raise OSError("no free loopback port")


def _lock_of(port: int) -> int | None:
    """The lock on a port's number; None while another process of this user has it.

    Anyone may make the folder before us, as a folder of theirs or as a link: OSError then, and nothing is written.
    """
    folder = Path(tempfile.gettempdir()) / f"runbook-ranger-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{folder} is not a folder that only this user writes to")
    return try_lock(folder / str(port))


def is_free(port: int) -> bool:
    """Whether a listener could bind this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
