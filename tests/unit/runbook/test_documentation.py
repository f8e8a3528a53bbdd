"""What the reference shows is what the loader takes."""

import re
from pathlib import Path

from libs.runbook.loader import load
from libs.runbook.spec import ActionStep, Runbook

PAGE = (Path(__file__).parents[3] / "docs" / "runbook-language.md").read_text()


def test_every_runbook_of_the_reference_can_be_published() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    assert [load(example).spec.id for example in examples] == ["restart-api"]


def test_the_reference_names_every_key() -> None:
    keys = {field.alias or name for model in (Runbook, ActionStep) for name, field in model.model_fields.items()}

    assert [key for key in sorted(keys) if f"`{key}`" not in PAGE] == []
