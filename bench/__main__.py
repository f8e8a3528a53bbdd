"""`python -m bench NAME… [--quick] [--json] [--compare OLD.json]`; `all` is every bench."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.catalogue import NAMES, measure
from bench.errors import BenchFailed
from bench.figures import Report
from bench.options import Options
from bench.tables import comparison, table, write_into

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 when a bench failed, whatever the others brought."""
    asked = _parser().parse_args(words)
    if asked.markdown:
        write_into(PAGE, _read(asked.markdown))
        return 0
    names = [name for name in NAMES if name in asked.names or "all" in asked.names]
    reports, failed = _measured(names, Options(quick=asked.quick, workers=asked.workers))
    if asked.save:
        asked.save.write_text(_as_json(reports))
    sys.stdout.write(f"{_as_json(reports) if asked.json else table(reports)}\n")
    if asked.compare:
        sys.stdout.write(f"\n{comparison(_read(asked.compare), reports)}\n")
    return 1 if failed else 0


def _measured(names: Sequence[str], options: Options) -> tuple[list[Report], bool]:
    reports, failed = [], False
    for name in names:
        try:
            reports.append(measure(name, options))
        except* BenchFailed as failures:
            failed = True
            for failure in failures.exceptions:
                sys.stderr.write(f"{name} FAILED: {failure}\n")
    return reports, failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the product beside its limits.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, "all"], metavar="NAME", help=f"all, {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: all of it within fifteen minutes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", type=Path, metavar="NEW.json", help="keep the figures in a file as well")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print new over old for each figure")
    parser.add_argument("--markdown", type=Path, metavar="SAVED.json", help="put saved figures into the documentation")
    parser.add_argument("--workers", type=int, default=2, help="how many workers carry out steps")
    return parser


def _as_json(reports: Sequence[Report]) -> str:
    return json.dumps([report.as_json() for report in reports], indent=1)


def _read(path: Path) -> list[Report]:
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return [Report.from_json(report) for report in found]


if __name__ == "__main__":
    sys.exit(main())
