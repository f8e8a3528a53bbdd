"""Folders for servers: what somebody left who was killed is removed, what somebody uses is not."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.support import scratch

MAKE = "from tests.support import scratch; print(scratch.folder('rr-unit-'), flush=True); input()"


def test_what_a_killed_maker_left_is_removed_and_what_is_used_stays() -> None:
    mine = scratch.folder("rr-unit-")
    with subprocess.Popen([sys.executable, "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        left = Path(maker.stdout.readline().decode().strip())
        maker.kill()
    for made in (mine, left):
        assert made.is_dir()
        long_ago = time.time() - scratch.YOUNG_SECONDS
        os.utime(made / scratch.MARK, (long_ago, long_ago))

    shutil.rmtree(scratch.folder("rr-unit-"))

    assert not left.exists()
    assert mine.is_dir()
    shutil.rmtree(mine)
