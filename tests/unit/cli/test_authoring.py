"""What an author does alone: the schema, runbooks built in Python, runbooks tried out; no server is asked."""

import json
from pathlib import Path

import pytest

from libs.runbook.loader import load
from tests.unit.cli.conftest import Run

ROOT = Path(__file__).parents[3]
LATENCY = ROOT / "runbooks" / "storage-latency.yaml"
SCENARIOS = ROOT / "runbooks" / "tests" / "storage-latency.yaml"
PYTHON = """\
from runbook_ranger import runbook

print("hello")
other = None
pause = runbook("pause").named("Pause").risk("low").wait("a-while", for_="5s")
"""
OTHER = "runbook('o').named('O').risk('low').wait('w', for_='5s')"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Python file that builds a runbook."""
    file = tmp_path / "pause.py"
    file.write_text(PYTHON)
    return file


def test_the_schema_is_printed(run: Run) -> None:
    ran = run("runbook", "schema")

    schema = json.loads(ran.out)
    assert (ran.code, schema["$schema"]) == (0, "https://json-schema.org/draft/2020-12/schema")
    assert {"apiVersion", "id", "steps"} <= schema["properties"].keys()


def test_a_python_file_becomes_yaml_whatever_it_prints(run: Run, source: Path) -> None:
    ran = run("runbook", "build", str(source))

    assert ran.code == 0
    assert load(ran.out).spec.id == "pause"


def test_a_python_file_does_not_get_the_token(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RR_TOKEN", "secret")
    seen = tmp_path / "seen"
    source.write_text(f"import os\nopen({str(seen)!r}, 'w').write(str('RR_TOKEN' in os.environ))\n{PYTHON}")

    assert run("runbook", "build", str(source)).code == 0
    assert seen.read_text() == "False"


def test_a_python_file_is_not_carried_out_by_the_way(run: Run, source: Path) -> None:
    for command in ("lint", "publish", "draft", "test"):
        ran = run("runbook", command, str(source))

        assert ran.code == 2
        assert f"`rangerctl runbook build {source} > pause.yaml`" in ran.err


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("x = 1\n", 2, "defines no runbook: give what runbook(…) returns a name"),
        (
            PYTHON.replace("None", OTHER),
            2,
            "several runbooks: other, pause",
        ),
        ("raise SystemExit('no')\n", 2, "SystemExit: no"),
        (PYTHON.replace('"5s"', '"soon"'), 1, "pause.py:5:9: steps[0]: must be a whole number and a unit"),
    ],
)
def test_a_python_file_without_a_good_runbook_is_told_so(
    run: Run, source: Path, text: str, code: int, says: str
) -> None:
    source.write_text(text)

    ran = run("runbook", "build", str(source))

    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err


def test_of_several_runbooks_one_is_named(run: Run, source: Path) -> None:
    source.write_text(
        PYTHON + "built = pause.build()\nother = runbook('o').named('O').risk('low').wait('w', for_='5s')\n"
    )

    assert load(run("runbook", "build", str(source), "--name", "built").out).spec.id == "pause"
    assert load(run("runbook", "build", str(source), "--name", "other").out).spec.id == "o"
    assert run("runbook", "build", str(source), "--name", "none").code == 2


def test_scenarios_that_hold_end_with_0(run: Run) -> None:
    ran = run("runbook", "test", str(LATENCY), "-s", str(SCENARIOS))

    assert ran.code == 0
    assert "ok    The shard is rerouted, and the alert ends: completed (alert_resolved) after 45s" in ran.out
    assert "2 of 2 ways are taken (100 %), 1 of 1 steps reached" in ran.out
    assert "step_completed" not in ran.out


def test_the_story_is_told_on_demand(run: Run) -> None:
    ran = run("runbook", "test", str(LATENCY), "-s", str(SCENARIOS), "--story")

    assert "           45s  completed  verified=alert_resolved" in ran.out


def test_a_scenario_that_does_not_hold_ends_with_1_and_names_the_line(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("scenarios:\n  - name: It goes well\n    expect:\n      state: failed\n")

    ran = run("runbook", "test", str(LATENCY), "-s", str(wrong))

    assert ran.code == 1
    assert f"{wrong}:4:7: scenarios[0].expect.state: is completed (alert_resolved), not failed" in ran.out
    assert "step_completed reroute" in ran.out
    assert "1 scenario did not come as expected." in ran.err


def test_scenarios_that_are_none_end_with_2(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("scenarios:\n  - name: It goes well\n    result: {reroot: fails}\n    results: {reroot: fails}\n")

    ran = run("runbook", "test", str(LATENCY), "-s", str(wrong))

    assert ran.code == 2
    assert f"{wrong}:3:5: scenarios[0].result: unknown key; did you mean results?" in ran.err


def test_a_runbook_that_is_none_ends_with_1(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(LATENCY.read_text().replace("effect: keyed", "effect: kept"))

    ran = run("runbook", "test", str(wrong))

    assert ran.code == 1
    assert "steps[0].effect: must be 'read', 'idempotent', 'keyed' or 'unsafe'" in ran.err


def test_without_scenarios_everything_that_can_go_wrong_is_walked(run: Run) -> None:
    ran = run("runbook", "test", str(LATENCY))

    lines = [line.split() for line in ran.out.splitlines()]
    assert ran.code == 0
    assert "19 paths: 1 without a fault, 6 with one, 12 with two; there are no others" in ran.out
    assert ["reroute", "failed", "failed", "completed", "completed", "failed", "–", "–"] in lines  # noqa: RUF001
    assert ["reroute:", "lock", "lost", "failed:", "deadline_exceeded", "reroute", "(lease_lost)", "nobody"] in lines


def test_too_few_ways_end_with_1(run: Run, tmp_path: Path) -> None:
    one = tmp_path / "one.yaml"
    one.write_text("scenarios:\n  - name: It goes well\n")

    assert run("runbook", "test", str(LATENCY), "-s", str(one), "--fail-under", "50").code == 0
    ran = run("runbook", "test", str(LATENCY), "-s", str(one), "--fail-under", "51")

    assert (ran.code, ran.err) == (1, "50 % of the ways are taken, fewer than 51 %.\n")
    assert run("runbook", "test", str(LATENCY), "-s", str(one), "--matrix", "--fail-under", "100").code == 0


def test_programs_get_json(run: Run) -> None:
    ran = run("runbook", "test", str(LATENCY), "-s", str(SCENARIOS), "--matrix", "-o", "json")

    told = json.loads(ran.out)
    assert (ran.code, told["passed"], told["runbook_id"]) == (0, True, "storage-latency")
    assert [item["passed"] for item in told["scenarios"]] == [True] * 5
    assert told["scenarios"][0]["steps"]["reroute"]["state"] == "succeeded"
    assert told["matrix"]["paths"] == {"0": 1, "1": 6, "2": 12}
    assert told["matrix"]["steps"][0]["faults"]["lock lost"]["reason"] == "deadline_exceeded"
    assert told["coverage"]["percent"] == 100


def test_fewer_paths_are_walked_on_demand_and_that_is_said(run: Run) -> None:
    ran = run("runbook", "test", str(LATENCY), "--paths", "7")

    assert "7 paths: 1 without a fault, 6 with one, 0 with two; found and not walked: " in ran.out
