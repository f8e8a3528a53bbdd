"""Every example of the page for authors has the value that the page says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.runbook.cel import Declarations, compile_condition, compile_expression, evaluate, run
from libs.runbook.expressions import ExpressionError

PAGE = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text()
SCOPE: dict[str, Any] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
DECLARED = Declarations.of({"shard": "string", "count": "integer", "dry": "boolean"})
LINES = [line for block in re.findall(r"```cel\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
EXAMPLES = [tuple(part.strip() for part in line.split(" // ")) for line in LINES]


@pytest.mark.parametrize(("source", "says"), EXAMPLES)
def test_an_example_has_the_value_that_the_page_says(source: str, says: str) -> None:
    compiler = compile_condition if says.startswith("condition ") else compile_expression
    kind, _, message = says.removeprefix("condition ").partition("error: ")

    if message:
        with pytest.raises(ExpressionError, match=re.escape(message)):
            evaluate(compiler(source, DECLARED), SCOPE, run)
    else:
        assert evaluate(compiler(source, DECLARED), SCOPE, run) == json.loads(kind)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) > 30


def test_every_function_that_the_page_names_is_there() -> None:
    listed = re.search(r"- Text: (.*?)\. Sizes", PAGE, re.DOTALL)
    assert listed is not None

    for name in re.findall(r"`(\w+)`", listed[1]):
        problems = []
        for arguments in ("", "1", "1, 2"):
            with pytest.raises(ExpressionError) as refused:
                compile_expression(f"{{}}.{name}({arguments})", DECLARED)
            problems.append(str(refused.value))
        assert any(f"found no matching overload for '{name}'" in problem for problem in problems)
