"""NATS with JetStream on a loopback port: a key and rights for each process, and its configuration checked first.

The keys are made at the first start, in `secrets/nats-keys`; the server's configuration holds public keys only.
"""

import http.client
import json
import os
from pathlib import Path

from runbook_ranger.stack import keyring
from runbook_ranger.stack.account import hand_over
from runbook_ranger.stack.errors import ServerFailedError
from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.servers.binaries import nats_binary
from runbook_ranger.stack.spawn import minimal_environment, run_as

MEMORY = "128MiB"  # the Go runtime collects earlier; 78 MB becomes 49 with 900k messages
ANSWER_PATIENCE = 0.2


class Nats(Server):
    """The embedded bus. Acknowledged messages are on disk after `sync_interval` (`always`: at once).

    `guest` names one more user, with a password and all rights: tests and benches play services that are not there.
    """

    name = "nats"

    def __init__(self, layout: Layout, ports: Ports, sync_interval: str | None = None, *, guest: str = "") -> None:
        super().__init__(layout)
        self._guest = guest
        self.port = ports.claim("nats")
        self.monitor = ports.claim("nats-monitor")
        self.sync_interval = sync_interval or os.environ.get("RR_NATS_SYNC") or "10s"
        self._binary = Path()

    @property
    def folder(self) -> Path:
        """Configuration and stores."""
        return self.layout.store(self.name)

    @property
    def configuration(self) -> Path:
        """The configuration file, 0600."""
        return self.folder / "nats.conf"

    @property
    def keys(self) -> Path:
        """The folder of the keys, made with whatever is missing in it."""
        folder = self.layout.keys
        keyring.ensure(folder)
        return folder

    def url(self) -> str:
        """Where it is; who connects signs in with a key."""
        return f"nats://127.0.0.1:{self.port}"

    def guest_url(self) -> str:
        """A connection URL with the guest's name and password."""
        return f"nats://{self._guest}:{self.layout.secret('nats-guest')}@127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration and have the server itself check it."""
        self._binary = nats_binary(self.layout)
        write_atomically(self.configuration, self._text())
        hand_over(self.configuration, self.layout.account)
        code = run_as([*self.command(), "-t"], self.layout.account, self.log)
        if code != 0:
            raise ServerFailedError(self.name, "its configuration was refused", self.log)

    def command(self) -> list[str]:
        """The server with its configuration file."""
        return [str(self._binary), "-c", str(self.configuration)]

    def clean(self) -> None:
        """Nothing to do: JetStream recovers its own store."""

    def environment(self) -> dict[str, str]:
        """With a soft cap on memory."""
        return minimal_environment(GOMEMLIMIT=MEMORY)

    def is_ready(self) -> bool:
        """Whether `/healthz` says that JetStream has recovered its streams."""
        connection = http.client.HTTPConnection("127.0.0.1", self.monitor, timeout=ANSWER_PATIENCE)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _text(self) -> str:
        """The configuration. JSON strings are valid in it, which settles quoting."""
        guests = [keyring.open_user(self._guest, self.layout.secret("nats-guest"))] if self._guest else []
        return f"""\
server_name: ranger
listen: "127.0.0.1:{self.port}"
http: "127.0.0.1:{self.monitor}"
max_payload: 8MB
jetstream {{
  store_dir: {json.dumps(str(self.folder / "store"))}
  sync_interval: {json.dumps(self.sync_interval) if self.sync_interval == "always" else self.sync_interval}
}}
{keyring.authorization(keyring.public_keys(self.keys), keyring.GRANTS.read_text(), guests)}"""
