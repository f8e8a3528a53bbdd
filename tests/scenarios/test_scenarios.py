"""Scenarios as data: each file is a promise, a runbook, a story, and how it must end. `script.py` tells the words.

What is expected: `state`, `reason`, `steps` in the order in which they were reached, `told` (every fact, in order),
`carried_out` (how often each action was begun), `errors` (every step's code); and where it says something, `sent` (the
arguments of each attempt), `outputs` and parts of the `messages`.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import yaml

from tests.scenarios.script import play
from tests.scenarios.stage import OffScript, Stage

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*/*.yaml"))
SCENARIO: Final = {"why", "runbook", "alert", "inputs", "story", "expect"}
ALWAYS: Final = {"state", "reason", "steps", "told"}
EXPECTED: Final = ALWAYS | {"carried_out", "errors", "sent", "outputs", "messages"}
each = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def scenario(path: Path) -> dict[str, Any]:
    """A file's content."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def played(found: dict[str, Any]) -> Stage:
    """The stage after the whole story; an error names the line."""
    stage = Stage.of(found)
    for number, line in enumerate(found["story"], 1):
        try:
            play(stage, line)
        except OffScript as error:
            raise OffScript(f"line {number} of the story, {line}: {error}") from None
    return stage


@each
def test_a_scenario_says_what_it_promises(path: Path) -> None:
    found = scenario(path)

    assert found.keys() <= SCENARIO
    assert ALWAYS <= found["expect"].keys() <= EXPECTED
    assert found["why"].endswith(".")
    assert "\n" not in found["why"]


@each
def test_the_story_ends_as_it_must(path: Path) -> None:
    found = scenario(path)
    expect = found["expect"]

    stage = played(found)

    seen = stage.look()
    assert (seen["state"], seen["reason"]) == (expect["state"], expect["reason"])
    assert list(seen["steps"].items()) == list(expect["steps"].items())
    assert stage.told == expect["told"]
    assert Counter(action.path for action in stage.carried_out) == Counter(expect.get("carried_out", {}))
    assert seen["errors"] == expect.get("errors", {})
    assert {step: seen["outputs"][step] for step in expect.get("outputs", {})} == expect.get("outputs", {})
    for step, part in expect.get("messages", {}).items():
        assert part in seen["messages"][step]
    for step, sent in expect.get("sent", {}).items():
        actions = [action for action in stage.carried_out if action.path == step]
        assert [orjson.loads(action.rendered)["with"] for action in actions] == [sent] * len(actions)
        assert actions, f"{step} was never carried out"


@each
def test_an_ended_execution_leaves_nothing_behind_and_is_deaf(path: Path) -> None:
    stage = played(scenario(path))
    assert stage.frame.terminal, "a story is told to its end"

    before = stage.frame
    assert (stage.ready, stage.due, stage.asked) == ({}, {}, {})
    for line in ({"alert": "ends"}, {"alert": "fires"}, {"passes": "24h"}, {"abort": "too late"}, {"fail": "too late"}):
        play(stage, line)
    assert stage.frame == before


@each
def test_the_same_story_is_the_same_execution(path: Path) -> None:
    first, again = played(scenario(path)), played(scenario(path))

    assert (first.frame, first.told, first.carried_out) == (again.frame, again.told, again.carried_out)


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 75


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"succeeds": "reroute"}, "reroute is not ready; .'collect'. is"),
        ({"grant": "bundle"}, "bundle was never reached"),
        ({"grant": "collect"}, "nobody asked about collect"),
        ({"revoke": "collect"}, "collect was not granted"),
        ({"misgranted": "collect", "code": "approval_other_plan"}, "nobody asked about collect"),
        ({"decide": "collect", "as": "failed"}, "collect is ready, not unknown"),
        ({"complete": "collect"}, "collect does not wait for a person"),
        ({"turned_away": "collect"}, "collect is not turned away"),
        ({"released": "collect"}, "nothing holds collect"),
        ({"late": "collect"}, "collect is ready: a late result counts only while nobody knows"),
        ({"sees": {"state": "completed"}}, "state is 'running', not 'completed'"),
    ],
)
def test_a_story_that_the_executor_would_not_tell_is_refused(line: dict[str, Any], says: str) -> None:
    found = scenario(HERE / "evidence-storage-latency" / "all_goes_well.yaml")

    with pytest.raises(OffScript, match=f"line 1 of the story.*{says}"):
        played(found | {"story": [line]})
