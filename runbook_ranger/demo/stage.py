"""The demo's stage: a stack and a target of its own, started from nothing and stopped again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from runbook_ranger.stack import control
from runbook_ranger.stack.errors import NotRunningError
from runbook_ranger.stack.layout import Layout


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: clients of the gateway and of the target."""

    api: httpx.Client
    target: httpx.Client
    data_dir: Path


@contextmanager
def stage(data_dir: Path, *, workers: int, keep: bool, tell: Callable[[str], None]) -> Iterator[Stage]:
    """A fresh stack in `data_dir` (what an earlier demo left there goes) and a target; with `keep` the stack stays.

    Raises:
        StackError: a stack runs there already, or one cannot be started.
    """
    layout = Layout.open(data_dir)
    control.refuse_second(layout)
    for folder in (layout.servers, layout.sockets, data_dir):
        shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        target_url = stack.enter_context(_target(data_dir / "target"))
        tell(f"the target listens on {target_url}")
        _start(data_dir, target_url, workers, tell)
        if not keep:
            stack.callback(_stop, data_dir)
        client = json.loads((data_dir / "client.json").read_text())
        headers = {"Authorization": f"Bearer {client['token']}"}
        api = stack.enter_context(httpx.Client(base_url=client["url"], headers=headers, timeout=10))
        target = stack.enter_context(httpx.Client(base_url=target_url, timeout=10))
        yield Stage(api, target, data_dir)


@contextmanager
def _target(folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "runbook_ranger.demo.target", "--port", "0", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 — our own module
    try:
        assert process.stdout is not None
        announced: dict[str, Any] = json.loads(process.stdout.readline())
        yield announced["url"]
    finally:
        process.terminate()
        process.wait(10)


def _start(data_dir: Path, target_url: str, workers: int, tell: Callable[[str], None]) -> None:
    """Start the stack in processes of its own; its workers may reach the target and nothing else that is private."""
    environment = os.environ | {
        "RR_DATA_DIR": str(data_dir),
        "RR_EGRESS_ALLOW": target_url.removeprefix("http://"),
        "RR_EGRESS_PUBLIC": "false",
    }
    command = [sys.executable, "-m", "runbook_ranger.cli", "up", "--detach", "--workers", str(workers)]
    with subprocess.Popen(  # noqa: S603 — our own module
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tell(line.rstrip())
    if process.returncode:
        raise RuntimeError(f"`rangerctl up` ended with {process.returncode}; its words are above")


def _stop(data_dir: Path) -> None:
    try:
        control.down(Layout.open(data_dir))
    except NotRunningError:
        return
