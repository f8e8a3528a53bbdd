"""Servers for a limit: the product's own starters and settings, in a temporary folder, with nothing in them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.servers.nats import Nats
from runbook_ranger.stack.servers.postgres import Postgres
from runbook_ranger.stack.servers.valkey import Valkey


class Servers:
    """NATS, Valkey and Postgres as the embedded stack runs them; a context manager. `sync` as of JetStream."""

    def __init__(self, sync: str | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rr-limit-", dir="/tmp"))
        self.root.chmod(0o711)
        self.layout = Layout.open(self.root)
        self._nats = Nats(self.layout, Ports.load(self.root / "ports.json"), sync, guest="limit")
        self._valkey = Valkey(self.layout)
        self._postgres = Postgres(self.layout)
        self._all: tuple[Server, ...] = (self._nats, self._valkey, self._postgres)

    def __enter__(self) -> Self:
        try:
            for server, process in [(server, server.start()) for server in self._all]:
                server.wait(process)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def environment(self) -> dict[str, str]:
        """Where they are."""
        return {
            "LIMIT_NATS": self._nats.guest_url(),
            "LIMIT_REDIS": self._valkey.url(),
            "LIMIT_PG": self._postgres.url(),
        }

    def database(self, name: str) -> str:
        """The administrator's URL of a database."""
        return self._postgres.url(name)

    @property
    def nats_url(self) -> str:
        """The bus, for who signs in with a key."""
        return self._nats.url()

    @property
    def keys(self) -> Path:
        """The folder of the keys of the bus."""
        return self._nats.keys

    def pids(self) -> dict[str, int]:
        """Their processes by name."""
        return {server.name: server.process.pid for server in self._all if server.process is not None}

    def _remove(self) -> None:
        for server in self._all:
            server.stop()
        for folder in (self.layout.servers, self.layout.sockets, self.root):
            shutil.rmtree(folder, ignore_errors=True)
