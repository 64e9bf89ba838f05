"""The benchmarks run, and their sums are right; what they measure is no test's business."""

import sys

import pytest

from helpers import ROOT, succeed

sys.path.insert(0, str(ROOT / "benchmarks"))
import speed  # noqa: E402


def rows(text, title):
    """The cells of the table under a title, by their first."""
    lines = text.split(f"## {title}", 1)[1].split("\n## ")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {name: values for name, *values in cells[1:]}


def test_a_ratio_is_the_median_of_those_within_the_turns():
    found = {"bare": [10, 1, 4], "ours": [30, 2, 5]}
    found = {kind: [{"cpu": value} for value in values] for kind, values in found.items()}
    assert list(speed.summary(found, "cpu")) == [("bare", 4, 1, 10, 1), ("ours", 5, 2, 30, 2)]


def test_a_table_has_the_time_of_a_step_where_it_is_asked_for():
    found = {"bare": [{"wall": 2, "cpu": 1}], "ours": [{"wall": 3, "cpu": 1.5}]}
    ours = rows(speed.table(found, "Title", steps=1000), "Title")["this template"]
    assert ours == ["3.000", "3.000 to 3.000", "1.50", "1500", "1.50"]


@pytest.mark.slow
def test_the_quick_run_measures_everything_and_writes_table_and_plot(template, tmp_path):
    pytest.importorskip("matplotlib")
    succeed(template / "benchmarks" / "speed.py", "--quick", "--output", tmp_path, cwd=tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for title, names in (
        (speed.TITLES["quick"][0], ["bare loop", "bare loop, stock DataLoader", "this template"]),
        ("From the start to the first step", ["bare loop", "this template"]),
    ):
        found = rows(text, title)
        assert list(found) == names and all(float(cells[0]) > 0 for cells in found.values())
    assert "MB after 20 epochs" in text
    assert "this template" in (tmp_path / "results.svg").read_text(encoding="utf-8")
