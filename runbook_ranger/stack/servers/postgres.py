"""Postgres 18 on a unix socket, SCRAM only, with fsync on."""

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from runbook_ranger.stack.account import hand_over
from runbook_ranger.stack.errors import DataVersionError, ServerFailedError
from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.servers.binaries import postgres_folder
from runbook_ranger.stack.spawn import run_as

ADMIN = "postgres"
PORT = 5432  # only a part of the socket's name: no TCP listener exists
MAJOR = "18"
STATUS_LINE = 8  # of postmaster.pid, counted from one
QUICK_RECOVERY = {"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}
SETTINGS = {
    **QUICK_RECOVERY,  # one call instead of one a file after a crash
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "io_method": "sync",
    "fsync": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_wal_size": "512MB",
    "autovacuum_naptime": "10s",  # until it is analyzed, plans may read a whole table; and tables fill within seconds
}


class Postgres(Server):
    """The embedded database server; `extra` overrides settings (tests that prove nothing about disks)."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: ends sessions, writes a checkpoint

    def __init__(self, layout: Layout, extra: dict[str, str] | None = None) -> None:
        super().__init__(layout)
        self.extra = extra or {}
        self._bin = Path()

    @property
    def data(self) -> Path:
        """The cluster's folder; it exists only once initdb has finished in `data.new`."""
        return self.layout.store(self.name) / "data"

    def url(self, database: str = "postgres", role: str = ADMIN, password: str | None = None) -> str:
        """A connection URL for a role; the administrator's by default."""
        secret = password or self.layout.secret("postgres-admin")
        return f"postgresql://{role}:{secret}@/{database}?host={self.layout.sockets}&port={PORT}"

    def prepare(self) -> None:
        """Find the binaries and make the cluster; refuses data of another major version."""
        self._bin = postgres_folder(self.layout)
        if not self.data.exists():
            self._initialise()
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise DataVersionError("Postgres", found, MAJOR, self.data)

    def command(self) -> list[str]:
        """The postmaster, its settings on the command line: nothing in the store has to be edited."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.layout.sockets), "port": str(PORT), **self.extra}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self.data), *options]

    def clean(self) -> None:
        """Remove what a killed postmaster leaves: its pid may have been given to someone else, who would refuse us."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for stale in self.layout.sockets.glob(".s.PGSQL.*"):
            stale.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Whether the postmaster says so in its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        mine = self.process is not None and lines[:1] == [str(self.process.pid)]
        return mine and len(lines) >= STATUS_LINE and lines[STATUS_LINE - 1].strip() == "ready"

    def _initialise(self) -> None:
        """Make the cluster beside its place and rename it: a crash leaves `data.new`, which the next start removes."""
        account = self.layout.account
        fresh = self.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.data.parent) as folder:
            hand_over(Path(folder), account)
            password = Path(folder) / "password"
            write_atomically(password, self.layout.secret("postgres-admin"))
            hand_over(password, account)
            code = run_as(self._initdb(fresh, password), account, self.log)
        if code != 0:
            raise ServerFailedError(self.name, f"initdb ended with {code}", self.log)
        fresh.rename(self.data)

    def _initdb(self, target: Path, password: Path) -> list[str]:
        return [
            str(self._bin / "initdb"),
            *("-D", str(target), "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={password}"),
            *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"),
        ]
