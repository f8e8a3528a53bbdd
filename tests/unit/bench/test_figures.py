"""A figure is judged by its median and by what each round reached of its own limit."""

from __future__ import annotations

import pytest

from bench.figures import Figure, Report, percentile, shown
from bench.tables import comparison, markdown, table


def rate(*values: float, goal: float | None = None, limit: tuple[float, ...] = ()) -> Figure:
    return Figure("steps", "steps/s", values, goal=goal, limit=limit, limit_name="bare")


def test_the_ratio_is_taken_round_by_round() -> None:
    assert rate(50, 10, 60, limit=(100, 100, 100)).ratio == pytest.approx(0.5)
    assert rate(50, 20, 60, limit=(100, 40, 100)).ratio == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (rate(3000, goal=3000), True),
        (rate(2999, goal=3000), False),
        (rate(5000), None),
        (Figure("p50", "ms", (14.0,), lower_is_better=True, goal=15.0), True),
        (Figure("p50", "ms", (16.0,), lower_is_better=True, goal=15.0), False),
        (Figure("steps", "steps/s", (4000.0,), goal=3000, goal_ratio=0.5, limit=(10000.0,)), False),
    ],
)
def test_a_goal_is_met_by_the_median_and_the_ratio(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


def test_a_report_comes_back_from_its_file() -> None:
    report = Report("steps", (rate(1, 2, 3, goal=2, limit=(4, 5, 6)),), {"steps": 3}, quick=True, notes={"cpu": 1})

    assert Report.from_json(report.as_json()) == report


def test_a_comparison_has_only_what_both_runs_measured() -> None:
    old = Report("steps", (rate(100, limit=(200,)),), {})
    new = Report("steps", (rate(150, limit=(600,)), Figure("new", "ms", (1,))), {})

    [_, line] = comparison([old], [new]).splitlines()

    assert line.split() == ["steps", "steps", "100", "steps/s", "150", "steps/s", "1.50", "0.50"]


def test_a_table_says_what_was_missed() -> None:
    report = Report("steps", (rate(100, goal=200),), {})

    assert "MISSED" in table([report])
    assert markdown([report]).endswith("missed |")


def test_the_page_says_how_busy_the_machine_was_and_which_sizes_were_taken() -> None:
    report = Report("steps", (rate(100),), {}, quick=True, notes={"machine": {"load_before": 3.5}})

    assert markdown([report]).endswith("Small sizes (`--quick`). Load average before: `steps` 3.5.")


def test_percentiles_and_numbers_as_shown() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(100), 0.99) == 99
    assert [shown(value) for value in (0, 0.1234, 1.234, 12.34, 1234.5)] == ["0", "0.123", "1.23", "12.3", "1,234"]
