"""The benches by name; each is loaded when it is wanted."""

from __future__ import annotations

import importlib
import time
from dataclasses import replace
from typing import Final

from bench.figures import Report
from bench.options import Options

NAMES: Final = ("path", "steps", "parked", "storm", "api", "memory", "startup")


def measure(name: str, options: Options) -> Report:
    """Run one bench.

    Raises:
        BenchFailed: it has no figures to show, because its work was not done as it should have been.
    """
    began = time.perf_counter()
    report: Report = importlib.import_module(f"bench.{name}").run(options)
    return replace(report, quick=options.quick or options.tiny, seconds=time.perf_counter() - began)
