"""The gate of `make policy-test`, as it is run there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(450)  # half a minute of one processor, which may have much else to do
def test_every_line_rule_code_and_mutant_of_the_policies_is_noticed() -> None:
    command = [sys.executable, "-m", "tests.policy.gate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=420, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "nobody notices" not in done.stdout
