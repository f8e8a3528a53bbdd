"""Reports as text: a table on the terminal, the difference to an older run, and the table of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.figures import Figure, Report, shown

MET: Final[Mapping[bool | None, str]] = {True: "met", False: "MISSED", None: ""}
BEGIN: Final = "<!-- figures: begin -->"
END: Final = "<!-- figures: end -->"


def table(reports: Iterable[Report]) -> str:
    """Every figure: min / median / max, its goal, and its share of the limit."""
    head = ("bench", "figure", "min / median / max", "goal", "limit", "ratio", "")
    rows = [(report.bench, *_cells(figure)) for report in reports for figure in report.figures]
    return _aligned([head, *rows])


def _cells(figure: Figure) -> tuple[str, ...]:
    spread = " / ".join(shown(value) for value in (min(figure.values), figure.median, max(figure.values)))
    limit = f"{shown(statistics.median(figure.limit))} {figure.limit_name}" if figure.limit else ""
    return (figure.name, f"{spread} {figure.unit}", goal(figure), limit, ratio(figure), MET[figure.met])


def goal(figure: Figure) -> str:
    """What the figure is meant to reach, in words."""
    sign = "≤" if figure.lower_is_better else "≥"
    parts = [f"{sign} {shown(figure.goal)}"] if figure.goal is not None else []
    parts += [f"{sign} {shown(figure.goal_ratio)} of the limit"] if figure.goal_ratio is not None else []
    return ", ".join(parts)


def ratio(figure: Figure) -> str:
    """Its share of the limit."""
    return "" if figure.ratio is None else f"{figure.ratio:.2f}"


def comparison(old: Iterable[Report], new: Iterable[Report]) -> str:
    """Each figure that both runs have: new median over old median, and the same of the ratios to their limits.

    The latter is the one to believe when the machine was busier in one of the two.
    """
    before = {(report.bench, figure.name): figure for report in old for figure in report.figures}
    rows = [("bench", "figure", "old", "new", "new/old", "ratio new/old")]
    for report in new:
        for figure in report.figures:
            known = before.get((report.bench, figure.name))
            if known is not None:
                rows.append((report.bench, *_compared(known, figure)))
    return _aligned(rows)


def _compared(old: Figure, new: Figure) -> tuple[str, str, str, str, str]:
    change = f"{new.median / old.median:.2f}" if old.median else ""
    ratios = f"{new.ratio / old.ratio:.2f}" if new.ratio and old.ratio else ""
    return (new.name, f"{shown(old.median)} {old.unit}", f"{shown(new.median)} {new.unit}", change, ratios)


def _sizes(reports: Sequence[Report]) -> str:
    """Which benches were run in which size."""
    quick = ", ".join(f"`{report.bench}`" for report in reports if report.quick)
    full = ", ".join(f"`{report.bench}`" for report in reports if not report.quick)
    if quick and full:
        return f"Full sizes: {full}; small ones (`--quick`): {quick}."
    return "Small sizes (`--quick`)." if quick else "Full sizes."


def markdown(reports: Iterable[Report]) -> str:
    """The table for the documentation, and how busy the machine was with other things before each bench."""
    reports = list(reports)
    lines = ["| bench | figure | median (min to max) | goal | limit | ratio | |", "| --- " * 7 + "|"]
    for report in reports:
        for figure in report.figures:
            spread = (
                f"{shown(figure.median)} {figure.unit} ({shown(min(figure.values))} to {shown(max(figure.values))})"
            )
            name, _, aim, limit, share, met = _cells(figure)
            lines.append(f"| `{report.bench}` | {name} | {spread} | {aim} | {limit} | {share} | {met.lower()} |")
    loads = {report.bench: report.notes["machine"]["load_before"] for report in reports if "machine" in report.notes}
    if loads:
        busy = ", ".join(f"`{name}` {load}" for name, load in loads.items())
        lines += ["", f"{_sizes(reports)} Load average before: {busy}."]
    return "\n".join(lines)


def write_into(page: Path, reports: Sequence[Report]) -> None:
    """Replace the table between the page's two marks; the rest of the page stays.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for figures")
    page.write_text(f"{before}{BEGIN}\n{markdown(reports)}\n{END}{after}")


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
