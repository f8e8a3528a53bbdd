"""The supervisor over real processes: it starts, heals, resumes, refuses, and leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest

from runbook_ranger.stack import identity, keyring, state
from runbook_ranger.stack.account import Account, may_enter
from runbook_ranger.stack.layout import ELSEWHERE, Layout
from runbook_ranger.stack.messaging import administrator
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.provision.jetstream import JetStream
from runbook_ranger.stack.servers.nats import Nats
from runbook_ranger.stack.servers.postgres import Postgres
from tests.support import scratch
from tests.support.servers import settled

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

ROOT = Path(__file__).parents[3]
SERVERS = ("nats", "valkey", "postgres")
SERVICES = ("timeline", "incident", "catalog", "approvals", "executor", "gateway", "worker-1")
ASYNC_TIMEOUT = "from asyncio import timeout\n"  # what redis needs of it on a Python before 3.11.3
NOBODY = Account("nobody", 65534, 65534)


class Stack:
    """One stack in a subprocess."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.user: Account | None = None

    def up(self, *options: str) -> None:
        """Start a supervisor and return when everything is ready."""
        self.start(*options)
        wait_for(lambda: bool(self.state().get("ready")) and self.mine(), 60)

    def start(self, *options: str) -> None:
        (self.root / "state.json").unlink(missing_ok=True)
        command = [self.python(), "-m", "tests.support.tiny_stack", str(self.root), *options]
        output = (self.root.parent / f"{self.root.name}.out").open("ab")
        with output:
            self.supervisor = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdout=output,
                stderr=output,
                user=self.user.uid if self.user else None,
                group=self.user.gid if self.user else None,
                extra_groups=[] if self.user else None,
            )

    @property
    def extra_path(self) -> Path:
        return self.root / "modules"

    def mine(self) -> bool:
        return self.supervisor is not None and self.state().get("pid") == self.supervisor.pid

    def state(self) -> dict[str, object]:
        return state.read(self.root / "state.json")

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib"), str(self.extra_path)])
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}
        return {**clean, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def python(self) -> str:
        """This interpreter, or the system's of the same version where the user may not reach ours."""
        user = self.user
        if user is None or may_enter(Path(sys.executable), user):
            return sys.executable
        return f"/usr/bin/python3.{sys.version_info.minor}"

    def process(self, name: str) -> dict[str, object]:
        processes = self.state().get("processes", [])
        assert isinstance(processes, list)
        return next(process for process in processes if process["name"] == name)

    def pid(self, name: str) -> int:
        found = self.process(name)["pid"]
        assert isinstance(found, int)
        return found

    def again(self, name: str, old: int) -> bool:
        """Whether another process than `old` is ready under this name."""
        found = self.process(name)
        return found["state"] == "ready" and found["pid"] not in {None, old}

    def restarts(self, name: str) -> int:
        found = self.process(name)["restarts"]
        assert isinstance(found, int)
        return found

    def pids(self) -> list[int]:
        return [self.pid(name) for name in (*SERVERS, *SERVICES)]

    def port(self, name: str) -> int:
        ports: dict[str, int] = json.loads((self.root / "ports.json").read_text())
        return ports[name]

    def ranger(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`rangerctl` on this stack."""
        code = "from runbook_ranger.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments, "--data-dir", str(self.root)],
            cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the supervisor with a signal and return its exit code."""
        assert self.supervisor is not None
        self.supervisor.send_signal(number)
        return self.supervisor.wait(60)


def wait_for(condition: Callable[[], bool], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return identity.start_time(pid) is None


@contextmanager
def fresh_stack() -> Iterator[Stack]:
    root = scratch.folder("rr-up-")
    root.chmod(0o711)
    found = Stack(root)
    yield found
    if found.supervisor is not None and found.supervisor.poll() is None:
        found.end()
    shutil.rmtree(root)
    root.with_suffix(".out").unlink(missing_ok=True)


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack of the test's own, not started."""
    with fresh_stack() as found:
        yield found


@pytest.fixture(scope="module")
def standing() -> Iterator[Stack]:
    """A running stack for tests that leave it running."""
    with fresh_stack() as found:
        found.up()
        yield found


async def _remember(url: str, value: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("create table if not exists public.memory (value text)")
    await connection.execute("insert into public.memory values ($1)", value)
    await connection.close()


async def _recall(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select value from public.memory order by value")
    await connection.close()
    return [row["value"] for row in rows]


async def _epoch(url: str) -> int:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval("select epoch from public.stream_epoch where stream = 'EVENTS'")
    await connection.close()
    return int(found)


def _admin(stack: Stack) -> str:
    return Postgres(Layout.open(stack.root)).url("ranger")


def test_a_stopped_stack_leaves_nothing_and_resumes_on_its_data(stack: Stack) -> None:
    stack.up()
    ports = (stack.root / "ports.json").read_text()
    settled(_remember(_admin(stack), "before"))
    pids = stack.pids()

    assert stack.end() == 0
    assert all(map(gone, pids))

    stack.up()
    assert settled(_recall(_admin(stack))) == ["before"]
    assert settled(_epoch(_admin(stack))) == 1
    assert (stack.root / "ports.json").read_text() == ports


@pytest.mark.parametrize("options", [(), ("--no-fork",)])
def test_whatever_is_killed_comes_back_by_itself(stack: Stack, options: tuple[str, ...]) -> None:
    stack.up(*options)
    settled(_remember(_admin(stack), "kept"))

    for name in (*SERVERS, "incident", "worker-1"):
        old = stack.pid(name)
        os.kill(old, signal.SIGKILL)
        wait_for(lambda name=name, old=old: stack.again(name, old))  # type: ignore[misc]

    wait_for(lambda: bool(stack.state()["ready"]))
    assert settled(_recall(_admin(stack))) == ["kept"]
    assert stack.process("nats")["restarts"] == 1
    assert stack.process("gateway")["restarts"] == 0


def test_the_fork_server_s_end_restarts_every_service(standing: Stack) -> None:
    stack = standing
    restarts = stack.restarts("forkserver")
    before = [stack.pid(name) for name in SERVICES]

    os.kill(stack.pid("forkserver"), signal.SIGKILL)

    wait_for(lambda: bool(stack.state()["ready"]) and stack.restarts("forkserver") == restarts + 1)
    assert not set(before) & {stack.pid(name) for name in SERVICES}


def test_a_service_that_ends_by_itself_finds_its_consumer_made_again(standing: Stack) -> None:
    stack = standing
    restarts = stack.restarts("catalog")
    assert stack.ranger("provision").returncode == 0
    settled(_delete_consumer(stack, "EVENTS", "catalog"))

    with urlopen(f"http://127.0.0.1:{stack.port('health-catalog')}/exit", timeout=5):
        pass

    wait_for(lambda: bool(stack.state()["ready"]) and stack.restarts("catalog") == restarts + 1)
    assert settled(_consumer_exists(stack, "EVENTS", "catalog"))


def test_all_die_with_a_killed_supervisor_and_the_next_one_resumes(stack: Stack) -> None:
    stack.up()
    settled(_remember(_admin(stack), "kept"))
    pids = [*stack.pids(), stack.pid("forkserver")]

    stack.end(signal.SIGKILL)

    wait_for(lambda: all(map(gone, pids)))
    stack.up()
    assert settled(_recall(_admin(stack))) == ["kept"]


def test_a_bus_that_lost_its_store_begins_a_new_epoch(stack: Stack) -> None:
    stack.up()
    stack.end()
    shutil.rmtree(stack.root / "servers" / "nats" / "store")

    stack.up()

    assert settled(_epoch(_admin(stack))) == 2
    assert settled(_consumer_exists(stack, "EVENTS", "timeline"))


def test_a_second_start_on_one_directory_is_refused_and_names_the_first(standing: Stack) -> None:
    stack = standing
    assert stack.supervisor is not None

    second = stack.ranger("up")

    assert second.returncode == 1
    assert f"in use by process {stack.supervisor.pid}" in second.stderr
    assert stack.state()["ready"]


def test_a_detached_stack_is_asked_followed_and_stopped_from_outside(stack: Stack) -> None:
    stack.start("--detach")
    assert stack.supervisor is not None
    assert stack.supervisor.wait(60) == 0

    shown = stack.ranger("status", "-o", "json")
    table = stack.ranger("status")
    logs = stack.ranger("logs", "gateway")
    stopped = stack.ranger("down")
    afterwards = stack.ranger("status")

    found = json.loads(shown.stdout)
    rows = {row["name"]: row for row in found["processes"]}
    assert found["ready"]
    assert set(rows) == {"supervisor", "forkserver", *SERVERS, *SERVICES}
    assert all(row["state"] in {"ready", "running"} and row["pss_mb"] > 0 for row in rows.values())
    assert "worker-1" in table.stdout
    assert "gateway began below" in logs.stdout
    assert stopped.stdout.startswith("stopped in")
    assert (afterwards.returncode, "nothing is running" in afterwards.stderr) == (3, True)
    assert all(gone(row["pid"]) for row in rows.values())


def test_services_are_forked_and_share_one_parent(standing: Stack) -> None:
    stack = standing
    parents = {int((identity.stat_fields(stack.pid(name)) or [])[identity.STAT_PARENT]) for name in SERVICES}

    assert parents == {stack.pid("forkserver")}
    assert Path(f"/proc/{stack.pid('gateway')}/comm").read_text().strip() == "rr-gateway"


def test_each_process_sees_only_what_it_needs(stack: Stack) -> None:
    stack.up("--no-fork")

    def environment(name: str) -> dict[str, str]:
        words = Path(f"/proc/{stack.pid(name)}/environ").read_bytes().decode().split("\0")
        return dict(word.split("=", 1) for word in words if "=" in word)

    assert "RR_REDIS_URL" not in environment("incident")
    assert "RR_REDIS_URL" in environment("worker-1")
    assert "RR_TOKENS" not in environment("executor")
    assert "rr_executor:" in environment("worker-1")["RR_POSTGRES_URL"]
    assert all("RR_ROLE_SECRET" not in environment(name) for name in (*SERVERS, *SERVICES))
    assert all(not any(key.startswith("RR_") for key in environment(name)) for name in SERVERS)


def test_secrets_and_stores_are_private(standing: Stack) -> None:
    stack = standing
    private = [stack.root / "client.json", *(stack.root / "secrets").iterdir(), *(stack.root / "logs").iterdir()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    assert all((stack.root / "servers" / name).stat().st_mode & 0o077 == 0 for name in (*SERVERS, "s"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become someone else")
def test_anyone_can_start_it_not_only_root(stack: Stack) -> None:
    stack.user = NOBODY
    if not may_enter(Path(stack.python()), NOBODY):
        pytest.skip("no interpreter of this version that everybody may execute")
    os.chown(stack.root, NOBODY.uid, NOBODY.gid)
    stack.extra_path.mkdir()
    (stack.extra_path / "async_timeout.py").write_text(ASYNC_TIMEOUT)

    stack.up()

    assert {Path(f"/proc/{pid}").stat().st_uid for pid in stack.pids()} == {NOBODY.uid}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives the servers another account")
def test_servers_of_root_run_unprivileged_and_elsewhere_when_its_folder_is_closed_to_them(stack: Stack) -> None:
    stack.root.chmod(0o700)
    inner = Stack(stack.root / "closed")
    inner.root.mkdir(mode=0o700)

    inner.up()

    servers = Path((inner.root / "servers.path").read_text())
    assert servers.parent == ELSEWHERE
    assert all(Path(f"/proc/{inner.pid(name)}").stat().st_uid != 0 for name in SERVERS)
    assert inner.end() == 0
    shutil.rmtree(servers)


async def _jetstream(stack: Stack) -> JetStream:
    layout = Layout.open(stack.root)
    ports = Ports.load(layout.root / "ports.json", running=True)
    nats = Nats(layout, ports)
    return JetStream(await administrator(nats.url(), keyring.seed(nats.keys, keyring.ADMIN)))


async def _delete_consumer(stack: Stack, stream: str, name: str) -> None:
    jetstream = await _jetstream(stack)
    await jetstream.delete_consumer(stream, name)
    await jetstream.client.close()


async def _consumer_exists(stack: Stack, stream: str, name: str) -> bool:
    jetstream = await _jetstream(stack)
    found = await jetstream.consumer(stream, name)
    await jetstream.client.close()
    return found is not None
