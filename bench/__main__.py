"""`python -m bench NAME… [--quick] [--json] [--compare OLD.json]`; `all` is every bench."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
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
    parser = _parser(benches)
    asked = parser.parse_args(words)
    unknown = sorted({*asked.names} - {*benches, "all"})
    if unknown or not (asked.names or asked.markdown):
        parser.error(f"there is no bench {', '.join(unknown)}" if unknown else "which bench?")
    if asked.markdown:
        write_into(PAGE, _read(asked.markdown))
        return 0
    wanted = {name: module for name, module in benches.items() if {name, "all"} & set(asked.names)}
    old = _read(asked.compare) if asked.compare else []
    reports = list(_measured(wanted, asked))
    sys.stdout.write(f"{_as_json(reports) if asked.json else table(reports)}\n")
    if asked.compare:
        sys.stdout.write(f"\n{comparison(old, reports)}\n")
    return 0 if len(reports) == len(wanted) else 1


def _measured(benches: Mapping[str, str], asked: argparse.Namespace) -> Iterator[Report]:
    """The reports of the benches that did not fail, each kept as soon as it is there."""
    for name, module in benches.items():
        try:
            with profiled(asked.profile and asked.profile / name) as recorder:
                report = measure(module, Options(asked.quick, asked.tiny, asked.workers, recorder=recorder))
        except* BenchFailed as failures:
            sys.stderr.write("".join(f"{name} FAILED: {failure}\n" for failure in _plain(failures)))
        except* Exception as failures:  # noqa: BLE001 -- a bug, here or in the product: told whole, the others still run
            sys.stderr.write(f"{name} FAILED\n{''.join(traceback.format_exception(failures))}")
        else:
            if asked.save:
                _keep(asked.save, report)
            yield report


def _plain(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _plain(failure)
        else:
            yield failure


def _keep(path: Path, report: Report) -> None:
    """Put a report into the file, in the place of an older one of the same bench."""
    others = [known for known in (_read(path) if path.exists() else []) if known.bench != report.bench]
    path.write_text(_as_json(sorted([*others, report], key=lambda kept: [*BENCHES, kept.bench].index(kept.bench))))


def _parser(benches: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the product beside its limits.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*benches, "all"]))
    parser.add_argument("--quick", action="store_true", help="smaller sizes: all of it within fifteen minutes")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that the benches work")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", type=Path, metavar="NEW.json", help="keep the figures in a file, for those benches")
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
