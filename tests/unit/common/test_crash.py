"""Crash points: they end the process where they are named, once if asked, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "from libs.common.crash import crash_point\ncrash_point('here')\nprint('went on')"


def _run(**env: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_named_point_ends_the_process_as_kill_9_would() -> None:
    assert _run(RR_CRASH_AT="here") == (137, "")


def test_other_points_and_none_do_nothing() -> None:
    assert _run(RR_CRASH_AT="there") == (0, "went on\n")
    assert _run() == (0, "went on\n")


def test_once_means_that_the_process_started_next_goes_on(tmp_path: Path) -> None:
    marker = str(tmp_path / "crashed")

    assert _run(RR_CRASH_AT="here", RR_CRASH_ONCE=marker)[0] == 137
    assert _run(RR_CRASH_AT="here", RR_CRASH_ONCE=marker) == (0, "went on\n")


def test_an_order_is_carried_out_once_and_at_its_point_alone(tmp_path: Path) -> None:
    order = tmp_path / "order"
    order.write_text("there")
    assert _run(RR_CRASH_ORDER=str(order)) == (0, "went on\n")

    order.write_text("here")

    assert _run(RR_CRASH_ORDER=str(order)) == (137, "")
    assert _run(RR_CRASH_ORDER=str(order)) == (0, "went on\n")
