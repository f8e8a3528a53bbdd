"""Scenarios as data: each file below is an alert, a story, and how it must end. `stage.py` tells the words."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.scenarios.stage import OffScript, Stage

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*/*.yaml"))
EXPECTED = {"state", "reason", "steps", "told", "carried_out", "sent"}


def scenario(path: Path) -> dict[str, Any]:
    """A file's content."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def played(found: dict[str, Any]) -> Stage:
    """The stage after the whole story; an error names the line."""
    stage = Stage.of(found)
    for number, line in enumerate(found["story"], 1):
        try:
            stage.play(line)
        except OffScript as error:
            raise OffScript(f"line {number} of the story, {line}: {error}") from None
    return stage


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_story_ends_as_it_must(path: Path) -> None:
    found = scenario(path)
    expect = found["expect"]

    stage = played(found)

    seen = stage.look()
    assert expect.keys() <= EXPECTED
    assert {key: seen[key] for key in ("state", "reason", "steps")} == {
        key: expect[key] for key in ("state", "reason", "steps")
    }
    assert stage.told == expect["told"]
    assert Counter(action.path for action in stage.carried_out) == Counter(expect.get("carried_out", {}))
    for path_of_step, sent in expect.get("sent", {}).items():
        actions = [action for action in stage.carried_out if action.path == path_of_step]
        assert [orjson.loads(action.rendered)["with"] for action in actions] == [sent] * len(actions)
        assert actions, f"{path_of_step} was never carried out"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_ended_execution_leaves_nothing_behind_and_is_deaf(path: Path) -> None:
    stage = played(scenario(path))
    assert stage.frame.terminal, "a story is told to its end"

    before = stage.frame
    assert (stage.ready, stage.timers, stage.asked) == ({}, {}, {})
    for line in ({"alert": "ends"}, {"alert": "fires"}, {"passes": "24h"}, {"abort": "too late"}, {"fail": "too late"}):
        stage.play(line)
    assert stage.frame == before


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_same_story_is_the_same_execution(path: Path) -> None:
    first, again = played(scenario(path)), played(scenario(path))

    assert (first.frame, first.told, first.carried_out) == (again.frame, again.told, again.carried_out)


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 10


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"succeeds": "reroute"}, "reroute is not ready; .'collect'. is"),
        ({"grant": "bundle"}, "bundle was never reached"),
        ({"sees": {"state": "completed"}}, "state is 'running', not 'completed'"),
    ],
)
def test_a_story_that_the_executor_would_not_tell_is_refused(line: dict[str, Any], says: str) -> None:
    found = scenario(HERE / "evidence-storage-latency" / "all_goes_well.yaml")

    with pytest.raises(OffScript, match=f"line 1 of the story.*{says}"):
        played(found | {"story": [line]})
