"""How scenarios and the fault matrix look to people."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runbook_ranger.cli import show

if TYPE_CHECKING:
    from libs.runbook.simulation.coverage import Coverage
    from libs.runbook.simulation.matrix import Matrix, PathEnd
    from libs.runbook.simulation.rehearsal import Rehearsal
    from libs.runbook.simulation.stage import Entry

NONE: Final = "–"  # noqa: RUF001 — a dash in an empty cell
LISTED: Final = 100
_TOLD: Final = ("reason", "error_code", "message", "will_retry", "decision", "verified")


def tell(played: "Sequence[tuple[Path, Rehearsal]]", walked: "Matrix | None", ways: "Coverage", *, story: bool) -> None:
    """Scenarios one by one, then the matrix, then which ways were taken."""
    for path, rehearsal in played:
        _scenario(path, rehearsal, story=story)
    if walked is not None:
        _matrix(walked)
    _ways(ways)


def lasted(seconds: float) -> str:
    """A time as people say it: `45s`, `4m`, `1h5m`."""
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest:g}s" if rest else ""]
    return "".join(parts) or "0s"


def _scenario(path: Path, rehearsal: "Rehearsal", *, story: bool) -> None:
    verdict = "ok  " if rehearsal.passed else "FAIL"
    why = f" ({rehearsal.reason})" if rehearsal.reason else ""
    _line(f"{verdict}  {rehearsal.name}: {rehearsal.state}{why} after {lasted(rehearsal.seconds)}")
    for problem in rehearsal.problems:
        _line(f"      {path}:{problem}")
    if story or not rehearsal.passed:
        for entry in rehearsal.story:
            _line(f"      {lasted(entry.at):>8}  {_what(entry)}")


def _what(entry: "Entry") -> str:
    said = [f"{key}={entry.data[key]}" for key in _TOLD if entry.data.get(key) not in (None, "", False)]
    return " ".join([entry.what, entry.path, *said]).strip()


def _matrix(walked: "Matrix") -> None:
    from libs.runbook.simulation.faults import KINDS, rows

    counts = walked.walked
    kinds = f"{counts[0]} without a fault, {counts[1]} with one, {counts[2]} with two"
    _line(f"{len(walked.ends)} paths: {kinds}{_left(walked)}\n")
    lines = [
        {"step": step_id, **{kind: _cell(walked, step_id, kind) if kind in possible else NONE for kind in KINDS}}
        for step_id, possible in rows(walked.spec)
    ]
    show.table(lines, ["step", *KINDS])
    _line("\n* a person says how it goes on. Each with as little else unexpected as leads there.")
    _bad(walked.bad)
    for broken in [*walked.violations, *(f"never ends: {end.cause}" for end in walked.hanging)]:
        _line(f"BROKEN  {broken}")


def _left(walked: "Matrix") -> str:
    left = {faults: count for faults, count in sorted(walked.left.items()) if count}
    names = {0: "without a fault", 1: "with one", 2: "with two"}
    told = ", ".join(f"{count} {names[faults]}" for faults, count in left.items())
    return f"; found and not walked: {told} (--paths)" if told else "; there are no others"


def _cell(walked: "Matrix", step_id: str, kind: Any) -> str:
    end = walked.cells.get((step_id, kind))
    if end is None:
        return "not reached"
    return f"{end.state}{'*' if end.decided else ''}"


def _bad(ends: "Sequence[PathEnd]") -> None:
    if not ends:
        _line("\nEvery path completes.")
        return
    _line("\nPaths that do not complete, by their smallest causes:\n")
    show.table([_row(end) for end in ends[:LISTED]], ["cause", "ends", "at", "told"])
    if len(ends) > LISTED:
        _line(f"and {len(ends) - LISTED} more (-o json has them all)")


def _row(end: "PathEnd") -> Mapping[str, str]:
    at = f"{end.at} ({end.code})" if end.at and end.code else end.at
    why = f": {end.reason}" if end.reason and end.reason != end.state else ""
    return {"cause": end.cause, "ends": f"{end.state}{why}", "at": at, "told": _joined(end.told) or "nobody"}


def _ways(ways: "Coverage") -> None:
    steps = len(dict.fromkeys(edge.step_id for edge in ways.edges))
    taken = len(ways.edges) - len(ways.missed)
    _line(
        f"\n{taken} of {len(ways.edges)} ways are taken ({ways.percent} %), {len(ways.steps)} of {steps} steps reached"
    )
    if ways.missed:
        _line(f"never taken: {_joined(str(edge) for edge in ways.missed)}")


def _joined(items: Iterable[str]) -> str:
    return ", ".join(items)


def _line(text: str) -> None:
    sys.stdout.write(f"{show.harmless(text)}\n")
