"""The standard plan: three servers, six services and the workers, each with the variables that it needs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libs.common.secret_files import UnreadableVariable, variable
from runbook_ranger.stack import first_token, keyring, logkeys
from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.fleet import Plan
from runbook_ranger.stack.keyring import ADMIN
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.messaging import administrator
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.processes import ProcessSpec, base_environment
from runbook_ranger.stack.roles import DEFAULT, service_url
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.servers.nats import Nats
from runbook_ranger.stack.servers.postgres import Postgres
from runbook_ranger.stack.servers.valkey import Valkey

if TYPE_CHECKING:
    from nats.aio.client import Client

GATEWAY_PORT = 8750
STAGES = {"gateway": 0, "worker": 1}
SERVICES_STAGE = 2
MODULES = {"worker": "services.executor.worker", "exporter": "services.timeline.exporter"}
SERVICES = ("timeline", "incident", "catalog", "approvals", "executor", "gateway")
HINTED = ("executor", "worker")  # the only ones that see Redis
KEEPING = ("worker", "catalog", "approvals", "timeline", "gateway")  # the only ones that see the object store
EXPORTER = "exporter"
KEPT = {"RR_EXPORT_URL", "RR_EXPORT_ACCESS_KEY", "RR_EXPORT_SECRET"}  # where the log is copied to: the exporter's alone
KEPT |= {f"{name}_FILE" for name in KEPT}
STORE = {
    "RR_OBJECTS_URL", "RR_OBJECTS_URL_FILE", "RR_OBJECTS_ACCESS_KEY", "RR_OBJECTS_ACCESS_KEY_FILE",
    "RR_OBJECTS_SECRET", "RR_OBJECTS_SECRET_FILE",
}  # fmt: skip
OWN = {  # settings of the stack itself, or given to each process by name
    "RR_NATS_URL", "RR_POSTGRES_URL", "RR_REDIS_URL", "RR_ROLE_SECRET", "RR_NATS_NKEY", "RR_NATS_NKEY_FILE",
    "RR_NATS_URL_FILE", "RR_POSTGRES_URL_FILE", "RR_REDIS_URL_FILE", "RR_ROLE_SECRET_FILE",
    "RR_DATA_DIR", "RR_RUN_AS", "RR_FORK", "RR_NATS_SYNC", "RR_NATS_KEYS", "RR_PROCESS_ENV",
    "RR_TOKENS", "RR_TOKENS_FILE", "RR_TOKEN", "RR_URL", "RR_HEALTH_PORT", "RR_INSTANCE",
    "RR_GATEWAY_HOST", "RR_GATEWAY_PORT", "RR_LINK_SECRET", "RR_LINK_SECRET_FILE",
    "RR_EVIDENCE_SECRET", "RR_EVIDENCE_SECRET_FILE", "RR_TIMELINE_KEY_FILE", "RR_BUNDLE_KEY_FILE",
}  # fmt: skip


@dataclass(frozen=True)
class Urls:
    """Where the servers are, as administrator. `nats_keys` is the folder of the bus's keys, where there are any."""

    postgres: str
    nats: str
    redis: str
    nats_keys: Path | None = None

    async def bus(self, **options: Any) -> "Client":
        """A connection to the bus, with the client's own options.

        Raises:
            StackError: it does not let the administrator in.
            nats.errors.Error, OSError: it does not answer.
        """
        return await administrator(self.nats, self.nats_key(ADMIN), **options)

    def nats_key(self, identity: str) -> str:
        """The seed that somebody signs in to the bus with; empty where the URL says who it is.

        Raises:
            StackError: the folder of the keys does not hold it.
        """
        try:
            return keyring.seed(self.nats_keys, identity) if self.nats_keys else ""
        except OSError as error:
            raise StackError(f"the bus's key of {identity} cannot be read: {error}") from None


@dataclass(frozen=True)
class Stack:
    """The servers of one data directory that are ours to run, in the order of their stop, and where all of them are."""

    servers: list[Server]
    urls: Urls
    role_secret: str

    @classmethod
    def choose(cls, layout: Layout, ports: Ports) -> "Stack":
        """Embedded servers, except those that `RR_NATS_URL`, `RR_POSTGRES_URL`, `RR_REDIS_URL` or their files replace.

        With a bus of one's own, `RR_NATS_KEYS` names the folder of its keys (`rangerctl nats keys`), if it takes keys.

        Raises:
            StackError: one of those files cannot be read.
        """
        try:
            return cls._choose(layout, ports)
        except UnreadableVariable as error:
            raise StackError(str(error)) from None

    @classmethod
    def _choose(cls, layout: Layout, ports: Ports) -> "Stack":
        servers: list[Server] = []
        given = os.environ.get("RR_NATS_KEYS")
        keys = Path(given).absolute() if given else None
        if not (nats_url := variable("RR_NATS_URL")):
            servers.append(nats := Nats(layout, ports))
            nats_url, keys = nats.url(), nats.keys
        if not (redis_url := variable("RR_REDIS_URL")):
            servers.append(valkey := Valkey(layout))
            redis_url = valkey.url()
        if not (postgres_url := variable("RR_POSTGRES_URL")):
            servers.append(postgres := Postgres(layout))
            postgres_url = postgres.url(DEFAULT)
        secret = variable("RR_ROLE_SECRET") or layout.secret("roles")
        return cls(servers, Urls(postgres_url, nats_url, redis_url, keys), secret)

    def admin_environment(self) -> dict[str, str]:
        """What provisioning and migrations need."""
        hidden = OWN | STORE | KEPT
        settings = {key: value for key, value in os.environ.items() if key.startswith("RR_") and key not in hidden}
        return {
            **base_environment(),
            **settings,
            "RR_POSTGRES_URL": self.urls.postgres,
            "RR_NATS_URL": self.urls.nats,
            "RR_REDIS_URL": self.urls.redis,
            "RR_ROLE_SECRET": self.role_secret,
            **self.key(ADMIN),
        }

    def key(self, identity: str) -> dict[str, str]:
        """The variable that names somebody's key; it is read at each start, so that a key can be changed meanwhile."""
        folder = self.urls.nats_keys
        return {"RR_NATS_NKEY_FILE": str(keyring.path(folder, identity))} if folder else {}


def standard(layout: Layout, *, workers: int = 2, fork: bool = True) -> Plan:
    """The whole product on one machine; also writes `client.json`, so that `rangerctl` finds the gateway."""
    ports = Ports.load(layout.root / "ports.json")
    stack = Stack.choose(layout, ports)
    host = os.environ.get("RR_GATEWAY_HOST") or "127.0.0.1"
    port = int(os.environ.get("RR_GATEWAY_PORT") or 0) or ports.claim("gateway", prefer=GATEWAY_PORT)
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 -- compared, not bound
    tokens = first_token.token_map(first_token.keep(layout, url))
    gateway = {"RR_GATEWAY_HOST": host, "RR_GATEWAY_PORT": str(port), "RR_TOKENS": tokens}
    gateway |= _signing(layout, "RR_EVIDENCE_SECRET", "evidence")
    exporter = [EXPORTER] if KEPT & os.environ.keys() else []
    names = [*SERVICES, *exporter, *(f"worker-{number}" for number in range(1, workers + 1))]
    own = {"gateway": gateway, "approvals": _signing(layout, "RR_LINK_SECRET", "links"), "timeline": _log_keys(layout)}
    particular = {name: _files(layout, name) | own.get(name, {}) for name in names}
    services = [process(name, stack, ports, particular[name]) for name in names]
    admin = stack.admin_environment()
    return Plan(
        servers=stack.servers,
        services=services,
        prepare=ProcessSpec("prepare", "runbook_ranger.stack.prepare", admin),
        restore=ProcessSpec("provision", "runbook_ranger.stack.provision", admin),
        url=url,
        hint=f": {url} (the first administrator's token is in {layout.client}, for rangerctl)",
        fork=fork,
    )


def beside(layout: Layout, name: str, more: Mapping[str, str]) -> ProcessSpec:
    """One process that somebody starts by hand beside the stack, with what its own processes are given."""
    ports = Ports.load(layout.root / "ports.json", running=True)
    own = _log_keys(layout) if name == "timeline" else {}
    return process(name, Stack.choose(layout, ports), ports, _files(layout, name) | own | dict(more))


def process(name: str, stack: Stack, ports: Ports, more: Mapping[str, str]) -> ProcessSpec:
    """One process with its variables; a health port is its own from now on."""
    kind = "worker" if name.startswith("worker-") else name
    owner = "executor" if kind == "worker" else name
    port = ports.claim(f"health-{name}")
    kept_from = OWN | (set() if kind in KEEPING else STORE) | (set() if kind == EXPORTER else KEPT)
    env = {
        **base_environment(),
        **{key: value for key, value in os.environ.items() if key.startswith("RR_") and key not in kept_from},
        "RR_NATS_URL": stack.urls.nats,
        "RR_POSTGRES_URL": service_url(stack.urls.postgres, owner, stack.role_secret),
        **({"RR_REDIS_URL": stack.urls.redis} if kind in HINTED else {}),
        **stack.key(kind),
        "RR_HEALTH_PORT": str(port),
        "RR_INSTANCE": name,
        **more,
        **_particular(name),
    }
    module = MODULES.get(kind, f"services.{name}")
    ready = f"http://127.0.0.1:{port}/readyz"
    return ProcessSpec(name, module, env, ready, STAGES.get(kind, SERVICES_STAGE))


def _signing(layout: Layout, name: str, own: str) -> dict[str, str]:
    """What signs links to approvals, or URLs of evidence: the installation's, or a secret of this stack's own."""
    try:
        return {name: variable(name) or layout.secret(own)}
    except UnreadableVariable as error:
        raise StackError(str(error)) from None


def _log_keys(layout: Layout) -> dict[str, str]:
    """Where what signs the log and its bundles stands: the installation's, or keys of this stack's own."""
    origin = os.environ.get("RR_TIMELINE_ORIGIN") or logkeys.ORIGIN
    log = os.environ.get("RR_TIMELINE_KEY_FILE") or logkeys.keep(layout.timeline_key, logkeys.log_name(origin))
    bundles = os.environ.get("RR_BUNDLE_KEY_FILE") or logkeys.keep(layout.bundle_key, logkeys.bundle_name(origin))
    return {"RR_TIMELINE_KEY_FILE": str(log), "RR_BUNDLE_KEY_FILE": str(bundles)}


def _files(layout: Layout, name: str) -> dict[str, str]:
    """Where a process keeps objects and, unless they are sent elsewhere, its spans for `rangerctl trace`."""
    files = {"RR_OBJECTS_DIR": os.environ.get("RR_OBJECTS_DIR") or str(layout.objects)}
    if not (os.environ.get("RR_TRACE_FILE") or os.environ.get("RR_OTLP_ENDPOINT")):
        files["RR_TRACE_FILE"] = str(layout.traces / f"{name}.jsonl")
    return files


def _particular(name: str) -> dict[str, str]:
    """Variables for one process only: `RR_PROCESS_ENV={"worker-1": {"RR_CRASH_AT": "…"}}`."""
    found: dict[str, str] = json.loads(os.environ.get("RR_PROCESS_ENV") or "{}").get(name, {})
    return found
