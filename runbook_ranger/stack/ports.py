"""Loopback ports, chosen once and kept in `ports.json`.

They are taken below the range from which the kernel gives out source ports: a client that keeps dialling a dead
server on a port inside that range can end up connected to itself, and then the server cannot come back.
"""

import json
import random
import socket
from dataclasses import dataclass, field
from pathlib import Path

from runbook_ranger.stack.files import write_atomically

LOWEST = 20000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 200


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
        if port is None or not (self.running or is_free(port)):
            taken = set(self.kept.values())
            port = prefer if prefer and prefer not in taken and is_free(prefer) else choose(taken)
            self.kept[name] = port
            write_atomically(self.path, json.dumps(self.kept, indent=1, sort_keys=True))
        return port


def is_free(port: int) -> bool:
    """Whether a listener could bind this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(taken: set[int]) -> int:
    """A free port outside the ephemeral range; raises OSError when the machine has none to give."""
    highest = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32768
    for _ in range(TRIES):
        port = random.randint(LOWEST, max(highest - 1, LOWEST + 2000))  # noqa: S311 -- not a secret
        if port not in taken and is_free(port):
            return port
    raise OSError("no free loopback port")
