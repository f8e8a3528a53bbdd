"""A command cannot read the credentials that its worker was started with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECRET = "canary-postgresql-password"
# The worker hides itself, gives up root if it has it, and lets a command of the same user look.
WORKER = """
import ctypes, os, subprocess
from libs.actions.privacy import hide_process
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as if it had always been this user
hidden = hide_process() if os.environ["HIDE"] == "yes" else False
look = ["/bin/sh", "-c", f"cat /proc/{os.getpid()}/environ"]
seen = subprocess.run(look, capture_output=True, env={}, cwd="/").stdout
print(hidden, b"canary" in seen)
"""


@pytest.mark.parametrize(("hide", "said"), [("yes", "True False"), ("no", "False True")])
def test_a_hidden_worker_shows_its_environment_to_nobody(hide: str, said: str) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RR_POSTGRES_URL": SECRET, "HIDE": hide}

    ran = subprocess.run([sys.executable, "-c", WORKER], env=environ, capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == said
