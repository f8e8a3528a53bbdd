"""Where everything of one embedded stack lies.

    <root>/            0711 as root (the servers' account passes through), 0700 otherwise
      supervisor.lock  held by the running `up`
      state.json       what `status` shows
      client.json      gateway URL and operator token, 0600
      ports.json       chosen once and kept
      secrets/         one file a secret, 0700; nats-keys/ holds the keys of the bus, timeline.key and bundle.key sign
      run/             one record a process: pid, start time, boot
      logs/            one log a process
      servers/         the stores, owned by the servers' account
        postgres/ valkey/ nats/ bin/

A root that the servers' account cannot reach (below a 0700 home) gets its `servers/` under /var/lib/runbook-ranger:
the modes of folders that are not ours are never changed.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runbook_ranger.stack.account import Account, hand_over, may_enter, server_account
from runbook_ranger.stack.files import keep_secret, write_atomically

DEFAULT_ROOT = ".ranger"
ELSEWHERE = Path("/var/lib/runbook-ranger")
SOCKET_LIMIT = 93  # bytes of a folder that still leaves room for `.s.PGSQL.NNNNN` in sockaddr_un


@dataclass(frozen=True)
class Layout:
    """The folders of one stack; build it with `Layout.open`, which makes them."""

    root: Path
    servers: Path
    sockets: Path
    account: Account | None

    @classmethod
    def open(cls, root: Path | None = None) -> "Layout":
        """Make or find the stack's folders below `root` (default: RR_DATA_DIR, then `.ranger`); repeatable."""
        base = chosen_root(root)
        account = server_account()
        _folder(base, 0o711 if account else 0o700)
        for name in ("secrets", "run", "logs", "traces", "objects"):
            _folder(base / name, 0o700)
        servers = _servers(base, account)
        return cls(base, servers, _sockets(base, servers, account), account)

    @property
    def logs(self) -> Path:
        """One appended log a process."""
        return self.root / "logs"

    @property
    def traces(self) -> Path:
        """One file of spans a process."""
        return self.root / "traces"

    @property
    def objects(self) -> Path:
        """Evidence, each file named by its SHA-256."""
        return self.root / "objects"

    @property
    def state(self) -> Path:
        """What the supervisor says of its processes."""
        return self.root / "state.json"

    @property
    def client(self) -> Path:
        """How `rangerctl` reaches this stack."""
        return self.root / "client.json"

    def lock(self, name: str) -> Path:
        """The lock file of a store or of the supervisor."""
        return self.root / "run" / f"{name}.lock"

    def record(self, name: str) -> Path:
        """The record of the process that last ran under this name."""
        return self.root / "run" / f"{name}.json"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def secret(self, name: str) -> str:
        """A random secret, made once."""
        return keep_secret(self.root / "secrets" / name)

    @property
    def timeline_key(self) -> Path:
        """What signs the log's checkpoints."""
        return self.root / "secrets" / "timeline.key"

    @property
    def bundle_key(self) -> Path:
        """What seals evidence bundles."""
        return self.root / "secrets" / "bundle.key"

    @property
    def keys(self) -> Path:
        """The folder of the keys that processes sign in to the bus with."""
        return self.root / "secrets" / "nats-keys"

    def store(self, name: str) -> Path:
        """The folder that one server owns, made if need be (0700, the servers' account)."""
        path = self.servers / name
        _folder(path, 0o700)
        hand_over(path, self.account)
        return path


def chosen_root(root: Path | None = None) -> Path:
    """The folder that is meant: the one given, `RR_DATA_DIR`, or `.ranger` here."""
    return (root or Path(os.environ.get("RR_DATA_DIR") or DEFAULT_ROOT)).resolve()


def _folder(path: Path, mode: int) -> None:
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)


def _servers(base: Path, account: Account | None) -> Path:
    """Where the stores are; remembered, so that a later change of modes above us never loses them."""
    note = base / "servers.path"
    if note.exists():
        path = Path(note.read_text())
    else:
        reachable = account is None or may_enter(base, account)
        path = base / "servers" if reachable else ELSEWHERE / hashlib.sha256(bytes(base)).hexdigest()[:12]
        write_atomically(note, str(path))
    _folder(path.parent, 0o711)
    _folder(path, 0o711 if account else 0o700)
    return path


def _sockets(base: Path, servers: Path, account: Account | None) -> Path:
    """A folder for unix sockets, its path short enough for the kernel; a private temporary one if ours is not."""
    path = servers / "s"
    if len(bytes(path)) > SOCKET_LIMIT:
        note = base / "sockets.path"
        if not note.exists() or not Path(note.read_text()).is_dir():
            write_atomically(note, tempfile.mkdtemp(prefix="rr-", dir="/tmp"))
        path = Path(note.read_text())
    _folder(path, 0o700)
    hand_over(path, account)
    return path
