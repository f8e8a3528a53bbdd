"""A bench that measures nothing, which takes no time."""

from __future__ import annotations

from bench.figures import Figure, Report
from bench.options import Options


def run(options: Options) -> Report:
    """One figure a size."""
    value = options.pick(3.0, 2.0, 1.0)
    figure = Figure("things", "things/s", (value, value), goal=2.5, limit=(4.0, 8.0), limit_name="bare things")
    return Report("good", (figure,), {"things": 1})
