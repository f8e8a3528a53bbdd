"""Processes are named by more than their pid."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_ranger.stack import identity
from runbook_ranger.stack.files import try_lock


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_recorded_process_is_found_again_and_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record = tmp_path / "nats.json"
    identity.remember(record, sleeper.pid)

    found = identity.recall(record)
    assert found is not None
    identity.end(found, signal.SIGTERM, 5)

    assert identity.recall(record) is None  # although nobody has reaped it: a zombie is dead


def test_another_process_with_the_same_pid_is_not_mistaken_for_it(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record = tmp_path / "nats.json"
    identity.remember(record, sleeper.pid)
    known = json.loads(record.read_text())

    record.write_text(json.dumps({**known, "started": "1"}))
    assert identity.recall(record) is None

    record.write_text(json.dumps({**known, "boot": "another"}))
    assert identity.recall(record) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_torn_record_names_nobody(tmp_path: Path, text: str) -> None:
    record = tmp_path / "nats.json"
    record.write_text(text)

    assert identity.recall(record) is None


def test_nobody_is_recorded_for_a_process_that_has_gone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    identity.remember(tmp_path / "x.json", process.pid)

    assert not (tmp_path / "x.json").exists()


def test_a_lock_lives_as_long_as_the_last_process_that_inherited_it(tmp_path: Path) -> None:
    path = tmp_path / "nats.lock"
    lock = try_lock(path)
    assert lock is not None
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    os.close(lock)

    assert try_lock(path) is None

    heir.communicate(b"\n")
    again = try_lock(path)
    assert again is not None
    os.close(again)
