"""A Docker engine: the one that runs here, or one of our own in a temporary folder.

Our own needs root and Debian's packages; where they are missing and we are root on a machine with apt, they are
installed first (`RR_COMPOSE_INSTALL=0` forbids it). What outlives the test: those packages, and the
empty bridge and packet filter chains that dockerd itself leaves behind.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.compose.shell import Failed, run

PACKAGES = ("docker.io", "docker-compose", "mmdebstrap")
START_SECONDS = 30.0
STOP_SECONDS = 20.0


class Unavailable(Exception):
    """No engine can be had on this machine; the text says why."""


@dataclass(frozen=True)
class Engine:
    """Where the engine listens, and whether it is ours: then its images have to be made here too."""

    environment: dict[str, str]
    composer: tuple[str, ...]
    ours: bool
    restart: Callable[[], None]
    """Ends ours and starts it again, with what it holds; its containers have ended then."""

    def docker(self, *arguments: str, seconds: float = 120, given: bytes | None = None) -> str:
        """What the client prints."""
        return run(["docker", *arguments], env=self.environment, seconds=seconds, given=given)

    def words(self, container: str) -> str:
        """The end of what a container said, on both channels."""
        command = ["bash", "-c", 'docker logs --tail 15 "$1" 2>&1', "bash", container]
        return f"--- {container}\n{run(command, env=self.environment)}"


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """An engine that answers.

    Raises:
        Unavailable: none runs, and none can be started.
    """
    if _answers(os.environ):
        yield Engine(dict(os.environ), _composer(), ours=False, restart=_never)
        return
    if os.getuid() != 0:
        raise Unavailable("no Docker engine answers here, and starting one needs root")
    _install()
    environment = {**os.environ, "DOCKER_HOST": f"unix://{folder / 'd.sock'}", "DOCKER_BUILDKIT": "0"}
    daemons = [_start(folder, environment)]

    def restart() -> None:
        _end(daemons.pop())
        daemons.append(_start(folder, environment))

    try:
        yield Engine(environment, _composer(), ours=True, restart=restart)
    finally:
        for daemon in daemons:
            _end(daemon)
        shutil.rmtree(folder, ignore_errors=True)


def _never() -> None:
    raise Unavailable("the engine that runs here is somebody else's")


def _composer() -> tuple[str, ...]:
    for command in (("docker", "compose"), ("docker-compose",)):
        with suppress(Failed):
            run([*command, "version"])
            return command
    raise Unavailable("neither `docker compose` nor `docker-compose` is installed")


def _install() -> None:
    programs = ("dockerd", "docker", "mmdebstrap")
    if all(map(shutil.which, programs)) and (shutil.which("docker-compose") or _plugin()):
        return
    if os.environ.get("RR_COMPOSE_INSTALL") == "0" or not shutil.which("apt-get"):
        raise Unavailable(f"these are not installed: {', '.join(PACKAGES)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-q"], env=environment, seconds=90)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES], env=environment, seconds=180)
    except Failed as error:
        raise Unavailable(f"{', '.join(PACKAGES)} cannot be installed: {str(error)[-300:]}") from None


def _plugin() -> bool:
    with suppress(Failed):
        run(["docker", "compose", "version"])
        return True
    return False


def _answers(environment: "os._Environ[str] | dict[str, str]") -> bool:
    try:
        run(["docker", "info"], env=dict(environment), seconds=20)
    except Failed:
        return False
    return True


def _start(folder: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    folder.mkdir(parents=True, exist_ok=True)
    places = ("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid")
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(
            ["dockerd", *map(str, places), "-H", environment["DOCKER_HOST"]],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not _answers(environment):
        if daemon.poll() is not None or time.monotonic() > deadline:
            _end(daemon)
            said = (folder / "log").read_text(errors="replace")[-400:]
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"dockerd does not run here: {said}")
        time.sleep(0.1)
    return daemon


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    """End our engine and what it started."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
