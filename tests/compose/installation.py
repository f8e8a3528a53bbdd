"""One installation by compose in a folder of its own: a copy of what the operator's page needs, a project, a port."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.compose.engine import Engine
from tests.compose.shell import Failed, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deploy.md"
NEEDED = ("docker-compose.yml", ".dockerignore", "pyproject.toml", "uv.lock", "README.md")
FOLDERS = ("deploy", "libs", "policies", "services", "runbook_ranger")
STEP_SECONDS = 300.0
LABEL = "com.docker.compose.project"
LOST_COUNT = "has active endpoints"


def commands(text: str) -> dict[str, list[str]]:
    """The `sh` blocks of a page by the heading that they stand under."""
    found: dict[str, list[str]] = {}
    heading, block = "", None
    for line in text.splitlines():
        if block is not None:
            if line == "```":
                found.setdefault(heading, []).append("\n".join(block))
                block = None
            else:
                block.append(line)
        elif line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line == "```sh":
            block = []
    return found


@dataclass
class Installation:
    """The running product, as its operator has it."""

    engine: Engine
    folder: Path
    project: str
    port: int
    done: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """The engine's, without variables of ours that happen to be set, and the installation's own."""
        kept = {name: value for name, value in self.engine.environment.items() if not name.startswith("RR_")}
        return kept | {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": os.pathsep.join(("docker-compose.yml", str(ROOT / "tests" / "compose" / "target.yml"))),
            "RR_IMAGE": "runbook-ranger:compose-test",
            "RR_NATS_IMAGE": "runbook-ranger-nats:compose-test",
            "RR_PUBLISH": f"127.0.0.1:{self.port}",
            "RR_EGRESS_ALLOW": "target:9000",
            "RR_EGRESS_PUBLIC": "false",
            "RR_EVENTS_MAX_BYTES": str(256 << 20),
        }

    def follow(self, heading: str) -> list[str]:
        """Do what the page says under a heading, word by word; what each block printed."""
        self.done.add(heading)
        composer = " ".join(self.engine.composer)
        blocks = [block.replace("docker compose", composer) for block in commands(PAGE.read_text())[heading]]
        try:
            return [self.bash(block) for block in blocks]
        except Failed as error:
            raise Failed(f"{error}\n{self.logs()}") from None

    def logs(self) -> str:
        """The last words of everything that is not well."""
        ids = [container for container, said in self.complaints().items() if said]
        return "\n".join(self.engine.words(container) for container in ids)

    def bash(self, script: str) -> str:
        """What a script prints."""
        return self._run("bash", "-euo", "pipefail", "-c", script)

    def compose(self, *arguments: str) -> str:
        """What compose prints."""
        return self._run(*self.engine.composer, *arguments)

    def _run(self, *command: str) -> str:
        """Once more where the engine has lost count of a network's endpoints, as Docker 20.10 does in one of 30 to 50
        runs (moby/moby#43286): no container is left on the network, and it goes only once the engine was started again.
        """
        try:
            return run(command, env=self.environment, cwd=self.folder, seconds=STEP_SECONDS)
        except Failed as error:
            if LOST_COUNT not in str(error) or not self.engine.ours or self.attached():
                raise
        self.engine.restart()
        return run(command, env=self.environment, cwd=self.folder, seconds=STEP_SECONDS)

    def attached(self) -> list[str]:
        """Ids of containers, whosever they are, on the project's networks."""
        networks = self.engine.docker("network", "ls", "-q", "--filter", f"label={LABEL}={self.project}").split()
        found = json.loads(self.engine.docker("network", "inspect", *networks)) if networks else []
        return [container for network in found for container in network["Containers"]]

    def containers(self, service: str = "") -> list[str]:
        """Ids of the project's containers, or of one service's, ended ones included."""
        labels = {LABEL: self.project} | ({"com.docker.compose.service": service} if service else {})
        filters = [part for name, value in labels.items() for part in ("--filter", f"label={name}={value}")]
        return self.engine.docker("ps", "-aq", "--no-trunc", *filters).split()

    def inspect(self, *ids: str) -> list[dict[str, Any]]:
        """What the engine knows of containers."""
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return found

    def unwell(self) -> dict[str, str]:
        """Containers that are not as they should be, by name: everything runs and is healthy, `prepare` ended well."""
        return {name: said for name, said in self.complaints().items() if said}

    def complaints(self) -> dict[str, str]:
        """What is wrong with each container, by name; empty when nothing is."""
        return {
            str(shown["Name"]): _complaint(shown["Name"], shown["State"]) for shown in self.inspect(*self.containers())
        }

    def left(self) -> list[str]:
        """Containers, networks and volumes of the project."""
        label = ("--filter", f"label={LABEL}={self.project}", "-q")
        kinds = (("ps", "-a"), ("network", "ls"), ("volume", "ls"))
        return [found for kind in kinds for found in self.engine.docker(*kind, *label).split()]

    def secret(self, name: str) -> str:
        """The content of a secret file."""
        return (self.folder / "deploy" / "secrets" / name).read_text().strip()

    def gateway(self) -> httpx.Client:
        """The operator's client, through the published port."""
        headers = {"Authorization": f"Bearer {self.secret('operator_token')}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=10, trust_env=False)

    def target(self) -> httpx.Client:
        """The demo target, through its published port."""
        address = self.compose("port", "target", "9000").strip()
        return httpx.Client(base_url=f"http://{address}", timeout=10, trust_env=False)


def _complaint(name: str, state: dict[str, Any]) -> str:
    if "prepare" in name:
        return "" if state["Status"] == "exited" and state["ExitCode"] == 0 else f"prepare: {state['Status']}"
    health = state.get("Health", {}).get("Status", "healthy")
    return "" if state["Status"] == "running" and health == "healthy" else f"{state['Status']}, {health}"


@contextmanager
def installation(engine: Engine, folder: Path) -> Iterator[Installation]:
    """A fresh copy and project; whatever a test leaves running is removed."""
    folder.mkdir(parents=True)
    for name in NEEDED:
        shutil.copy2(ROOT / name, folder)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "secrets")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    place = Installation(engine, folder, f"rangertest{os.getpid()}", port)
    try:
        yield place
    finally:
        place.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
