"""What processes cost: CPU seconds and memory out of /proc, of a process alone or with all that it started."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM = 1, 11, 12  # fields of /proc/…/stat behind the name


def cpu_seconds(pid: int, *, children: bool = True) -> float:
    """User and system time so far of a process and, unless told otherwise, of its living descendants."""
    pids = _tree(pid) if children else [pid]
    return sum((int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS for fields in map(_stat, pids) if fields)


def pss_mb(pid: int, *, children: bool = True) -> float:
    """The proportional share of memory, in MB (2^20)."""
    return _rollup(pid, "Pss:", children=children)


def anonymous_mb(pid: int, *, children: bool = True) -> float:
    """Anonymous memory (heap and stacks, no files), in MB (2^20)."""
    return _rollup(pid, "Anonymous:", children=children)


class Meter:
    """CPU of named processes since it was made."""

    def __init__(self, pids: Mapping[str, int], *, alone: Iterable[str] = ()) -> None:
        self._pids = dict(pids)
        self._alone = frozenset(alone)
        self._before = self._read()

    def seconds(self) -> dict[str, float]:
        """What each has used."""
        return {name: now - self._before[name] for name, now in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {name: cpu_seconds(pid, children=name not in self._alone) for name, pid in self._pids.items()}


def _rollup(pid: int, field: str, *, children: bool) -> float:
    total = 0
    for each in _tree(pid) if children else [pid]:
        with suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(field))
    return total / 1024


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            children[int(fields[_PARENT])].append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
