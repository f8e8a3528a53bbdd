"""The benches by name; each is loaded when it is wanted."""

from __future__ import annotations

import importlib
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bench.figures import Report
from bench.options import Options

BENCHES: Final[Mapping[str, str]] = {
    name: f"bench.{name}"
    for name in (
        "path",
        "steps",
        "parked",
        "fanout",
        "storm",
        "api",
        "memory",
        "startup",
        "policy",
        "guarded",
        "lists",
        "log",
        "verify",
    )
}
"""The module of each, whose `run(options)` gives its report."""


def measure(module: str, options: Options) -> Report:
    """Run the bench of a module.

    Raises:
        BenchFailed: it has no figures to show, because its work was not done as it should have been.
    """
    began, machine = time.perf_counter(), _machine()
    report: Report = importlib.import_module(module).run(options)
    took = time.perf_counter() - began
    return replace(
        report, quick=options.quick or options.tiny, seconds=took, notes={**report.notes, "machine": machine}
    )


def _machine() -> dict[str, str | int | float]:
    """What it runs on; a load that is not near zero before a bench begins is somebody else's."""
    return {
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "kind": platform.machine(),
        "load_before": round(os.getloadavg()[0], 1),
    }
