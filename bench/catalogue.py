"""The benches by name; each is loaded when it is wanted."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bench.figures import Report
from bench.options import Options

BENCHES: Final[Mapping[str, str]] = {
    name: f"bench.{name}" for name in ("path", "steps", "parked", "storm", "api", "memory", "startup")
}
"""The module of each, whose `run(options)` gives its report."""


def measure(module: str, options: Options) -> Report:
    """Run the bench of a module.

    Raises:
        BenchFailed: it has no figures to show, because its work was not done as it should have been.
    """
    began = time.perf_counter()
    report: Report = importlib.import_module(module).run(options)
    return replace(report, quick=options.quick or options.tiny, seconds=time.perf_counter() - began)
