"""What the supervisor knows of its processes, for those who ask from outside."""

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.units import State, Unit


@dataclass
class StateFile:
    """`state.json`, written whole at every change of a state."""

    path: Path
    url: str
    began: float = field(default_factory=time.time)

    def write(self, units: Iterable[Unit]) -> None:
        """Replace the file; times are seconds since the epoch; ready: every one is, without a complaint."""
        ordered = sorted(units, key=lambda unit: unit.stage)
        ready = all(unit.state is State.READY and not unit.detail for unit in ordered)
        processes = [
            {
                "name": unit.name,
                "pid": unit.child.pid if unit.child else None,
                "state": str(unit.state),
                "restarts": unit.restarts,
                "since": unit.since,
                "detail": unit.detail,
                "stage": unit.stage,
                "ready_url": unit.ready_url,
            }
            for unit in ordered
        ]
        whole = {"pid": os.getpid(), "since": self.began, "ready": ready, "url": self.url, "processes": processes}
        with suppress(OSError):  # a full disk must not end the supervisor
            write_atomically(self.path, json.dumps(whole, indent=1))


def read(path: Path) -> dict[str, Any]:
    """The last state written; empty when there is none."""
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return state
