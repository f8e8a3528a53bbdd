"""The page for auditors names the tests that try each attack: they are there, and none that tries one is left out."""

import ast
import re
from functools import cache
from pathlib import Path

from runbook_ranger.chaos.points import APART

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "auditors.md").read_text()
SECTION = PAGE.partition("## What is tried against it")[2]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ") and "::" in line]
WHOLE = ("integration/timeline/test_attacks", "unit/tlog/test_forged", "unit/tlog/test_public")
"""Files that hold nothing but attacks."""
LINES = 26
"""Attacks that were promised to be tried: none may vanish from the page."""


@cache
def functions(module: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((TESTS / f"{module}.py").read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: node for node in found if node.name.startswith("test_")}


def named() -> list[tuple[str, str]]:
    return [(module, name) for row in ROWS for module, name in re.findall(r"`([\w/]+)::(\w+)`", row)]


def test_every_attack_has_an_outcome_and_somebody_who_tries_it() -> None:
    assert len(ROWS) == LINES
    for row in ROWS:
        attack, outcome, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert attack
        assert outcome
        assert re.fullmatch(r"(`[\w/]+::test_\w+`(<br>)?)+", tests), row


def test_every_test_that_the_page_names_is_there_and_runs() -> None:
    for module, name in named():
        found = functions(module).get(name)
        assert found is not None, f"{module}::{name}"
        marks = " ".join(ast.unparse(mark) for mark in found.decorator_list)
        assert "skip" not in marks, name
        assert "xfail" not in marks, name


def test_nothing_that_tries_an_attack_is_left_out_of_the_page() -> None:
    tried = {(module, name) for module in WHOLE for name in functions(module)}

    assert tried <= set(named())


def test_a_process_dies_at_every_point_that_a_storm_does_not_come_by() -> None:
    dying = "".join(path.read_text() for path in (TESTS / "integration").rglob("test_*.py"))

    assert {point for point in APART if f'"{point}"' not in dying} == set()
