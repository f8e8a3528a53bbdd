"""Valkey 9 on a unix socket: append-only file every second, never evicting, two users and no default one."""

import hashlib
import re
import socket
from pathlib import Path

from runbook_ranger.stack.account import hand_over
from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.servers.binaries import valkey_binary

USER = "ranger"
ADMIN = "admin"
ANSWER_PATIENCE = 0.2


class Valkey(Server):
    """The embedded Redis-compatible server for step hints; what it loses, a sweep brings back."""

    name = "valkey"

    def __init__(self, layout: Layout, max_memory: str = "256mb") -> None:
        super().__init__(layout)
        self.max_memory = max_memory
        self._binary = Path()

    @property
    def socket(self) -> Path:
        """The server's unix socket."""
        return self.layout.sockets / "valkey.sock"

    @property
    def folder(self) -> Path:
        """Configuration, users and data."""
        return self.layout.store(self.name)

    def url(self, user: str = USER) -> str:
        """A connection URL for a user: `ranger` (keys `rr:*`, nothing dangerous) or `admin`."""
        return f"unix://{self.socket}?username={user}&password={self.layout.secret(f'valkey-{user}')}"

    def prepare(self) -> None:
        """Write configuration and users; the data folder is made empty the first time."""
        self._binary = valkey_binary(self.layout)
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        hand_over(data, self.layout.account)
        self._write("users.acl", self._users())
        self._write("valkey.conf", self._configuration())

    def command(self) -> list[str]:
        """The server with its configuration file."""
        return [str(self._binary), str(self.folder / "valkey.conf")]

    def clean(self) -> None:
        """A killed server leaves its socket behind."""
        self.socket.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Whether PING is answered; a server that still loads its file says LOADING."""
        try:
            return self.ask("PING") == "PONG"
        except OSError:
            return False

    def ask(self, *command: str, user: str = ADMIN) -> str:
        """One command and the first line of its answer, without its type mark; raises OSError when nobody answers."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(ANSWER_PATIENCE)
            channel.connect(str(self.socket))
            channel.sendall(_encoded("AUTH", user, self.layout.secret(f"valkey-{user}")) + _encoded(*command))
            answers = channel.makefile("rb")
            answers.readline()
            return answers.readline().decode().strip()[1:]

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        write_atomically(path, text)
        hand_over(path, self.layout.account)

    def _users(self) -> str:
        def digest(user: str) -> str:
            return hashlib.sha256(self.layout.secret(f"valkey-{user}").encode()).hexdigest()

        return (
            "user default off\n"
            f"user {USER} on #{digest(USER)} ~rr:* resetchannels +@all -@dangerous\n"
            f"user {ADMIN} on #{digest(ADMIN)} ~* &* +@all\n"
        )

    def _configuration(self) -> str:
        settings = {
            "port": "0",
            "unixsocket": _quoted(self.socket),
            "unixsocketperm": "700",
            "dir": _quoted(self.folder / "data"),
            "aclfile": _quoted(self.folder / "users.acl"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory": self.max_memory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return "".join(f"{key} {value}\n" for key, value in settings.items())


def _quoted(path: Path) -> str:
    """A path as a configuration word; also right for blanks and quotes."""
    return '"' + re.sub(r'(["\\])', r"\\\1", str(path)) + '"'


def _encoded(*words: str) -> bytes:
    """A command as the protocol's array of strings."""
    parts = [f"*{len(words)}\r\n".encode()]
    parts += [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"".join(parts)
