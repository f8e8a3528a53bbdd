"""The policies with one thing wrong in each: whatever the decision table does not notice, it does not guard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from libs.common.policy.actions import PACKAGES
from libs.common.policy.bundle import PolicyBundle
from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.engines.embedded import Package
from tests.policy.checks import Check
from tests.policy.marks import Line

THREADS: Final = 2
LEADING: Final = 60
"""Checks that are tried before those that go through the changed line."""
_NOISE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|#[^\n]*')
_FLIPS: Final = {
    "==": ("!=",), "!=": ("==",), ">=": ("<", ">"), ">": ("<=", ">="), "<=": (">", "<"), "<": (">=", "<="),
}  # fmt: skip
_COMPARISON: Final = re.compile(r"(?<= )(==|!=|>=|<=|>|<)(?= )")
_MEMBER: Final = re.compile(r"(?:(?<=\t)|(?<= if ))(?=[^\s{][^\n]* in )(?!some |every |not )")
_NOT: Final = re.compile(r"(?<![\w])not ")
_RULE: Final = re.compile(r"^[^\s}#][^\n]*(?:\n(?!\n)[^\n]*)*", re.MULTILINE)
_EFFECT: Final = re.compile(r"\w+ contains ")
_CONDITION: Final = re.compile(r"(?<!\{\n)^\t+[^\n\t}{]+\n|^\t+[^\n\t}{]+\n(?!\t*\})", re.MULTILINE)
"""A line of a body that has others: an empty body is no Rego."""


@dataclass(frozen=True)
class Mutant:
    """One package with one change."""

    package: str
    line: int
    what: str
    source: str

    def __str__(self) -> str:
        return f"{self.package}:{self.line} {self.what}"


def mutants(package: str, source: str) -> Iterator[Mutant]:
    """Each comparison flipped and moved by one, each membership and negation turned round, each rule that adds a
    reason dropped, each condition left out."""
    bare = _NOISE.sub(lambda found: "_" * len(found[0]), source)

    def changed(start: int, end: int, text: str, what: str) -> Mutant:
        return Mutant(package, bare.count("\n", 0, start) + 1, what, source[:start] + text + source[end:])

    for found in _COMPARISON.finditer(bare):
        yield from (changed(*found.span(), other, f"{found[0]} as {other}") for other in _FLIPS[found[0]])
    for found in _MEMBER.finditer(bare):
        yield changed(found.start(), found.start(), "not ", "membership negated")
    for found in _NOT.finditer(bare):
        yield changed(*found.span(), "", "negation dropped")
    for found in _RULE.finditer(bare):
        if _EFFECT.match(found[0]):
            yield changed(*found.span(), "", "reason dropped")
        for condition in _CONDITION.finditer(bare, *found.span()) if " if {" in found[0] else ():
            if not re.search(r":= |some |reason", condition[0]):
                yield changed(*condition.span(), "", "condition dropped")


def survivors(
    bundle: PolicyBundle, checks: Mapping[str, Sequence[Check]], reached: Mapping[Line, set[str]]
) -> tuple[int, list[Mutant]]:
    """How many mutants there are, and those that no check notices.

    `reached` names the checks that go through a line; those that go a way of their own are tried first.
    """
    every = [each for package, source in bundle.modules.items() for each in mutants(package, source)]
    ordered = {package: _by_way(some, reached) for package, some in checks.items()}
    with ThreadPoolExecutor(THREADS) as threads:  # the engine lets go of the interpreter's lock while it works
        lives = list(threads.map(lambda each: _lives(bundle, ordered, reached, each), every))
    return len(every), [each for each, alive in zip(every, lives, strict=True) if alive]


def _by_way(checks: Sequence[Check], reached: Mapping[Line, set[str]]) -> list[Check]:
    """First one check of each way through the policies, then the others."""
    ways: dict[str, set[Line]] = {check.name: set() for check in checks}
    for line, names in reached.items():
        for name in names & set(ways):
            ways[name].add(line)
    first: dict[frozenset[Line], Check] = {}
    for check in checks:
        first.setdefault(frozenset(ways[check.name]), check)
    leading = {check.name for check in first.values()}
    return sorted(checks, key=lambda check: check.name not in leading)


def _lives(
    bundle: PolicyBundle, checks: Mapping[str, Sequence[Check]], reached: Mapping[Line, set[str]], mutant: Mutant
) -> bool:
    changed = replace(bundle, modules={**bundle.modules, mutant.package: mutant.source})
    near = {name for shift in (-2, -1, 0, 1, 2) for name in reached.get((mutant.package, mutant.line + shift), ())}
    for package in PACKAGES:
        if mutant.package not in bundle.needed(package):
            continue
        try:
            compiled = Package(changed, package)
        except EngineFailed:
            return False
        leading = checks[package][:LEADING]
        order = [*leading, *sorted(checks[package][LEADING:], key=lambda check: check.name not in near)]
        if not all(check.passes(compiled.evaluate) for check in order):
            return False
    return True
