"""`python -m bench NAME… [--quick] [--json] [--compare OLD.json]`; `all` is every bench."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.catalogue import BENCHES, measure
from bench.errors import BenchFailed
from bench.figures import Report
from bench.options import Options
from bench.profile import profiled
from bench.tables import comparison, table, write_into

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def main(words: Sequence[str] | None = None, benches: Mapping[str, str] = BENCHES) -> int:
    """Run what is asked for; 1 when a bench failed, whatever the others brought."""
    asked = _parser(benches).parse_args(words)
    if asked.markdown:
        write_into(PAGE, _read(asked.markdown))
        return 0
    wanted = {name: module for name, module in benches.items() if {name, "all"} & set(asked.names)}
    reports, failed = _measured(wanted, asked)
    if asked.save:
        asked.save.write_text(_as_json(reports))
    sys.stdout.write(f"{_as_json(reports) if asked.json else table(reports)}\n")
    if asked.compare:
        sys.stdout.write(f"\n{comparison(_read(asked.compare), reports)}\n")
    return 1 if failed else 0


def _measured(benches: Mapping[str, str], asked: argparse.Namespace) -> tuple[list[Report], bool]:
    """The reports, and whether a bench failed."""
    reports, failed = [], False
    for name, module in benches.items():
        try:
            with profiled(asked.profile and asked.profile / name) as recorder:
                reports.append(measure(module, Options(asked.quick, asked.tiny, asked.workers, recorder=recorder)))
        except* BenchFailed as failures:
            failed = True
            for failure in failures.exceptions:
                sys.stderr.write(f"{name} FAILED: {failure}\n")
    return reports, failed


def _parser(benches: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the product beside its limits.")
    names = [*benches, "all"]
    parser.add_argument("names", nargs="*", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="smaller sizes: all of it within fifteen minutes")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that the benches work")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", type=Path, metavar="NEW.json", help="keep the figures in a file as well")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print new over old for each figure")
    parser.add_argument("--markdown", type=Path, metavar="SAVED.json", help="put saved figures into the documentation")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="also sample every process; a flame graph each")
    parser.add_argument("--workers", type=int, default=2, help="how many workers carry out steps")
    return parser


def _as_json(reports: Sequence[Report]) -> str:
    return json.dumps([report.as_json() for report in reports], indent=1)


def _read(path: Path) -> list[Report]:
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return [Report.from_json(report) for report in found]


if __name__ == "__main__":
    sys.exit(main())
