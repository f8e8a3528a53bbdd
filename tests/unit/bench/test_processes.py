"""CPU and memory of processes, with or without what they started."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.processes import Meter, anonymous_mb, cpu_seconds, pss_mb

BUSY = """
import time
began = time.process_time()
while time.process_time() - began < 0.2: pass
print(1, flush=True)
input()
"""


def test_a_child_counts_with_its_parent_unless_it_is_asked_about_alone() -> None:
    meter = Meter({"all": os.getpid(), "alone": os.getpid()}, alone=["alone"])
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()

        used = meter.seconds()
        assert used["all"] - used["alone"] >= 0.09
        assert pss_mb(os.getpid()) > pss_mb(os.getpid(), children=False) > 1
        assert anonymous_mb(child.pid) > 1
        child.communicate(b"\n")


def test_a_process_that_has_gone_costs_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    assert (cpu_seconds(child.pid), pss_mb(child.pid)) == (0, 0)
