"""What the reference shows is what the loader takes."""

import re
from pathlib import Path

from libs.runbook.elements import Approval, Escalation, FormField, Probe, Retry, Rollback, Verify
from libs.runbook.graph import walk
from libs.runbook.loader import load
from libs.runbook.spec import Input, Runbook, Trigger
from libs.runbook.steps import (
    STEP_TYPES,
    ActionStep,
    ApprovalStep,
    Branch,
    CheckStep,
    DecisionStep,
    LoopStep,
    ManualStep,
    NotifyStep,
    ParallelStep,
    WaitStep,
)

PAGE = (Path(__file__).parents[3] / "docs" / "runbook-language.md").read_text()
STEPS = (
    ActionStep, CheckStep, NotifyStep, WaitStep, ManualStep, ApprovalStep, DecisionStep, Branch, ParallelStep, LoopStep,
)  # fmt: skip
EXAMPLES = [load(text, types=STEP_TYPES).spec for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_every_runbook_of_the_reference_is_one() -> None:
    assert [example.id for example in EXAMPLES] == ["restart-api", "evidence-latency", "drain-fleet"]


def test_the_reference_shows_every_type_of_step() -> None:
    assert {place.step.type for example in EXAMPLES for place in walk(example.steps)} == set(STEP_TYPES)


def test_the_reference_names_every_key() -> None:
    models = (Runbook, Input, Trigger, Verify, Approval, Rollback, Probe, Escalation, FormField, Retry, *STEPS)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}

    assert [key for key in sorted(keys) if f"`{key}`" not in PAGE and f"`{key}:" not in PAGE] == []
