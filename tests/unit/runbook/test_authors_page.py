"""What the page for authors shows is what the product does."""

import re
from pathlib import Path
from typing import get_args

import pytest

from libs.runbook.builder.writing import write
from libs.runbook.elements import Element
from libs.runbook.loader import load
from libs.runbook.simulation import scenario
from libs.runbook.simulation.rehearsal import read_scenarios, rehearse
from runbook_ranger.cli import main
from runbook_ranger.cli.building import yaml_of
from tests.support.pages import blocks, commands

ROOT = Path(__file__).parents[3]
PAGE = "docs/authors.md"
TEXT = (ROOT / PAGE).read_text()
SCENARIOS = re.findall(r"^```yaml scenarios\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ALONE = [words for words in commands(PAGE) if words[2] in {"schema", "build", "test"}]


def test_the_runbook_is_the_same_in_yaml_and_in_python() -> None:
    [text], [source] = blocks(PAGE, "yaml"), blocks(PAGE, "python")
    room: dict[str, object] = {}
    exec(compile(source, PAGE, "exec"), room)  # noqa: S102 — the page's own example

    assert load(yaml_of(room, "")).spec_hash == load(text).spec_hash


def test_the_python_file_is_the_one_that_the_page_shows() -> None:
    [source] = blocks(PAGE, "python")

    assert source == (ROOT / "runbooks" / "python" / "custom_recovery.py").read_text()


def test_what_is_written_of_a_spec_is_that_spec() -> None:
    found = load(blocks(PAGE, "yaml")[0])

    assert load(write(found.spec_json)).spec_hash == found.spec_hash


def test_the_scenarios_of_the_page_hold() -> None:
    [text] = SCENARIOS

    rehearsals = rehearse(load(blocks(PAGE, "yaml")[0]).spec, read_scenarios(text))

    assert [str(problem) for rehearsal in rehearsals for problem in rehearsal.problems] == []
    assert len(rehearsals) == 3


@pytest.mark.parametrize("words", ALONE, ids=" ".join)
def test_what_needs_no_server_is_done_as_the_page_says(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    with pytest.raises(SystemExit) as ended:
        main(words[1:])

    assert ended.value.code == 0


def test_the_page_names_every_key_and_word_of_a_scenario() -> None:
    models = [item for item in vars(scenario).values() if isinstance(item, type) and issubclass(item, Element)]
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    words = {*get_args(scenario.Ending), *get_args(scenario.AnswerKind)} | keys - {"is", "in", "at", "never", "after"}

    said = set(re.findall(r"[a-z_]+", TEXT))
    assert sorted(words - said) == []
