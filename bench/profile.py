"""Where the time goes: py-spy samples each process of the product while a bench measures it.

Sampling takes its share of the machine: figures of a profiled run are not to be kept.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.product import ALONE

PER_SECOND: Final = 50
PATIENCE_SECONDS: Final = 30.0
UNREADABLE: Final = ALONE | {"nats", "valkey", "postgres"}
"""Servers are not Python, and those who only start others do nothing meanwhile."""


@contextmanager
def profiled(folder: Path | None) -> Iterator[Callable[[Mapping[str, int]], None]]:
    """What a bench tells its processes to; on the way out, `FOLDER/NAME.svg` of each. Without a folder nothing is done.

    A bench that measures one set of processes after the other has its later ones in `FOLDER/NAME-2.svg`.
    """
    recorders: list[subprocess.Popen[bytes]] = []

    def record(pids: Mapping[str, int]) -> None:
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name, pid in pids.items():
            if name not in UNREADABLE:
                recorders.append(_recorder(_fresh(folder, name), pid))

    try:
        yield record
    finally:
        for recorder in recorders:  # those whose process has ended have written and gone
            if recorder.poll() is None:
                recorder.send_signal(signal.SIGINT)
            recorder.wait(PATIENCE_SECONDS)


def _recorder(output: Path, pid: int) -> subprocess.Popen[bytes]:
    spy = str(Path(sys.executable).with_name("py-spy"))
    words = [spy, "record", "--nonblocking", "--rate", str(PER_SECOND), "--pid", str(pid), "--output", str(output)]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(words, stdout=nowhere, stderr=nowhere)  # noqa: S603 -- our own environment's


def _fresh(folder: Path, name: str) -> Path:
    names = (f"{name}.svg", *(f"{name}-{number}.svg" for number in range(2, 100)))
    path = next(folder / name for name in names if not (folder / name).exists())
    path.touch()
    return path
