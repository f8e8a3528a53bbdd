"""`python -m bench`: figures, files, comparison; a bench whose work was wrong has none and fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.options import Options
from bench.tables import BEGIN, END, write_into
from tests.support import good_bench

GOOD = {"good": "tests.support.good_bench"}
BOTH = {"bad": "tests.support.bad_bench", **GOOD}


def test_figures_are_printed_kept_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "old.json"
    assert main(["good", "--quick", "--save", str(kept)], GOOD) == 0
    capsys.readouterr()

    assert main(["good", "--compare", str(kept)], GOOD) == 0

    assert "1.50" in capsys.readouterr().out


def test_json_is_the_whole_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good", "--json"], GOOD) == 0

    [report] = json.loads(capsys.readouterr().out)
    assert report["figures"][0]["median"] == 3.0
    assert report["figures"][0]["ratio"] == pytest.approx(0.5625)
    assert report["verified"] == {"things": 1}


def test_a_bench_whose_work_is_wrong_fails_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["all"], BOTH) == 1

    said = capsys.readouterr()
    assert "bad FAILED: steps: {'succeeded': 4}, where {'succeeded': 5} is wanted" in said.err
    assert "good" in said.out
    assert "bad" not in said.out


@pytest.mark.parametrize("words", [["speed"], ["good", "speed"], []])
def test_a_name_that_is_none_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(words, GOOD)


def test_a_later_run_keeps_the_figures_of_other_benches(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    main(["good", "--save", str(kept)], GOOD)

    renamed = kept.read_text().replace('"bench": "good"', '"bench": "path"')
    kept.write_text(renamed)
    main(["good", "--quick", "--save", str(kept)], GOOD)
    main(["good", "--tiny", "--save", str(kept)], GOOD)

    found = json.loads(kept.read_text())
    assert [(report["bench"], report["figures"][0]["median"]) for report in found] == [("path", 3.0), ("good", 1.0)]


def test_a_bug_fails_its_bench_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["all"], {"broken": "tests.support.eventually", **GOOD}) == 1

    said = capsys.readouterr()
    assert "broken FAILED" in said.err
    assert "AttributeError" in said.err
    assert "things" in said.out


def test_the_page_gets_the_table_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    write_into(page, [good_bench.run(Options())])

    before, *lines, after = page.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert any("things" in line for line in lines)
    assert "old" not in lines


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n")

    with pytest.raises(ValueError, match="no place"):
        write_into(page, [])

    assert page.read_text() == "text\n"
