"""How well the decision table guards the policies: `make policy-test` prints the figures and fails below the limits.

A process of its own: regopy can save a compiled plan only where it was loaded before greenlet, which logs bring along.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import regopy  # before all that brings greenlet along

from libs.common.policy.actions import PACKAGES
from libs.common.policy.bundle import PolicyBundle, folder
from libs.common.policy.engines.embedded import Package
from libs.common.policy.reasons import DENIED
from tests.policy.checks import Check, checks, codes
from tests.policy.marks import Line, Marked, printed
from tests.policy.mutants import survivors

LEAST_LINES: Final = 0.9
BY_THE_SEAM: Final = frozenset({"engine"})
"""What no policy says: the seam does, where it has no answer."""
_RULE: Final = re.compile(r"^(?!package |import |default |#)\S[^\n]*(?:\n(?!\n)[^\n]*)*", re.MULTILINE)
_CODE: Final = re.compile(r'^\w+ contains "(\w+)"|^(?:lack\(\w+\)|\} else) := "(\w+)"', re.MULTILINE)


@dataclass(frozen=True)
class Coverage:
    """What the table goes through. `unfired`: codes that never deny in a package, `always`: that always do."""

    checks: int
    lines: int
    missed: Sequence[Line]
    rules: int
    unreached: Sequence[str]
    codes: int
    unfired: Sequence[str]
    always: Sequence[str]
    failed: Sequence[str]
    reached: Mapping[Line, set[str]]

    @property
    def share(self) -> float:
        return 1 - len(self.missed) / self.lines

    def faults(self) -> Iterator[str]:
        """What is not as it has to be."""
        if self.share < LEAST_LINES:
            yield f"lines: {self.share:.1%}, and {LEAST_LINES:.0%} are wanted"
        yield from (f"check fails: {name}" for name in self.failed)
        yield from (f"rule never holds: {rule}" for rule in self.unreached)
        yield from (f"code never fires: {code}" for code in self.unfired)
        yield from (f"code always fires: {code}" for code in self.always)


def sorted_by_package() -> Mapping[str, Sequence[Check]]:
    """The table's checks."""
    every = checks()
    return {package: [check for check in every if check.package == package] for package in PACKAGES}


def coverage(bundle: PolicyBundle, wanted: Mapping[str, Sequence[Check]]) -> Coverage:
    """Run every check, once for its answer and once for its way."""
    reachable: set[Line] = set()
    reached: dict[Line, set[str]] = {}
    failed: list[str] = []
    fired: dict[str, list[frozenset[str]]] = {}
    for package, some in wanted.items():
        plain, marked = Package(bundle, package), Marked(bundle, package)
        reachable |= marked.lines
        failed += [check.name for check in some if not check.passes(plain.evaluate)]
        fired[package] = [
            codes(check, plain.evaluate(f"{package.replace('.', '/')}/decision", check.asked))
            for check in some
            if check.entrypoint == "decision"
        ]
        with printed() as take:
            for check in some:
                marked.evaluate(check.entrypoint, check.asked)
                for line in take():
                    reached.setdefault(line, set()).add(check.name)
    rules = [rule for name, source in bundle.modules.items() for rule in _rules(name, source, reachable)]
    known = {package: _codes(bundle, package) for package in wanted}
    return Coverage(
        checks=sum(map(len, wanted.values())),
        lines=len(reachable),
        missed=sorted(reachable - set(reached)),
        rules=len(rules),
        unreached=[name for name, lines in rules if lines and max(lines) not in reached],
        codes=len(set().union(*known.values())),
        unfired=[f"{p} {c}" for p, all_ in known.items() for c in sorted(all_) if not any(c in f for f in fired[p])],
        always=[f"{p} {c}" for p, all_ in known.items() for c in sorted(all_) if all(c in f for f in fired[p])],
        failed=failed,
        reached=reached,
    )


def main() -> int:
    """Print the figures; 1 when something is not guarded."""
    began = time.perf_counter()
    bundle, wanted = PolicyBundle.read(folder()), sorted_by_package()
    found = coverage(bundle, wanted)
    count, alive = survivors(bundle, wanted, found.reached)
    rows = [
        ("policies", f"revision {bundle.revision}, {len(bundle.modules)} modules, regopy {regopy.__version__}"),
        ("decision table", f"{found.checks} checks, {len(found.failed)} fail"),
        ("lines", f"{found.share:.1%} of {found.lines}"),
        ("rules", f"{found.rules - len(found.unreached)} of {found.rules} reached"),
        ("deny codes", f"{found.codes}, each fires and does not in every package that has it"),
        ("mutants", f"{count - len(alive)} of {count} noticed"),
        ("took", f"{time.perf_counter() - began:.1f} s"),
    ]
    faults = [*found.faults(), *(f"nobody notices: {mutant}" for mutant in alive)]
    missed = [f"not covered: {package}:{line}" for package, line in found.missed]
    sys.stdout.write("\n".join([*(f"{name:<16}{text}" for name, text in rows), *missed, *faults]) + "\n")
    return 1 if faults else 0


def _rules(package: str, source: str, reachable: set[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Each rule by its head, with those of its lines that can be reached."""
    for found in _RULE.finditer(source):
        first = source.count("\n", 0, found.start()) + 1
        lines = [(package, first + shift) for shift in range(found[0].count("\n") + 1)]
        yield f"{package}:{first} {found[0].splitlines()[0]}", [line for line in lines if line in reachable]


def _codes(bundle: PolicyBundle, package: str) -> set[str]:
    """The deny codes that a package can give."""
    written = {code for source in bundle.needed(package).values() for pair in _CODE.findall(source) for code in pair}
    return written & (set(DENIED) - BY_THE_SEAM)


if __name__ == "__main__":
    sys.exit(main())
