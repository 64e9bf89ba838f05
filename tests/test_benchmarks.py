"""The benchmarks run, and their sums are right; what they measure is no test's business.

So do the scripts that make files anew, in a copy of the template.
"""

import shutil
import sys

import pytest

import browser
from helpers import PROJECT, ROOT, succeed

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
    earlier = "# What\n\nOf before.\n\n## Other\n\nMeasured before.\n"
    (tmp_path / "results.md").write_text(earlier, encoding="utf-8")
    succeed(template / "benchmarks" / "speed.py", "--quick", "--output", tmp_path, cwd=tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for title, names in (
        (speed.TITLES["quick"][0], ["bare loop", "bare loop, stock DataLoader", "this template"]),
        ("From the start to the first step", ["bare loop", "this template"]),
    ):
        found = rows(text, title)
        assert list(found) == names and all(float(cells[0]) > 0 for cells in found.values())
    assert "MB after 20 epochs" in text and text.startswith(earlier)  # what it did not measure
    assert "this template" in (tmp_path / "results.svg").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("checkpoint.py", ["1"], "blocked / torch.save"),
        ("distributed.py", ["2", "1", "FSDP by blocks"], "FSDP by blocks"),
        ("start.py", [PROJECT, "1"], "sum: added to import torch"),
        ("sweep.py", ["1", "2", "3"], "| a trial, copies of a process with torch |"),
        (
            "speed.py",
            ["--work", "tiny_metrics", "loading", "--rounds", "1", "--processes", "1"],
            "The project's loader alone",
        ),
        ("data.py", ["--samples", "1000"], "this template"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_each_benchmark_ends_with_its_table(script, arguments, expected, template, tmp_path):
    options = {"speed.py": ["--output", tmp_path / "new"], "checkpoint.py": [tmp_path, "1"]}
    done = succeed(template / "benchmarks" / script, *arguments, *options.get(script, []), cwd=ROOT)
    results = tmp_path / "new" / "results.md"
    assert expected in (results.read_text("utf-8") if script == "speed.py" else done)


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no browser: apt-get install chromium")
def test_the_picture_of_the_readme_is_made(template, tmp_path):
    copy = shutil.copytree(template, tmp_path / "copy")
    (copy / "docs" / "report.png").unlink()
    succeed("scripts/make_report_picture.py", cwd=copy)
    assert (copy / "docs" / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_the_loop_does_little_beside_the_step(template, tmp_path):
    """Counted in instructions, which do not depend on how busy the machine is."""
    script = template / "benchmarks" / "instructions.py"
    lines = succeed(script, "bare", "ours", "--work", "quick", cwd=tmp_path).splitlines()
    [ours] = [line for line in lines if line.startswith("this template")]
    assert 1 < float(ours.split()[-1]) < 1.095


@pytest.mark.slow
def test_weights_are_compared_bit_for_bit(template, tmp_path):
    script, file = template / "scripts" / "digest_weights.py", tmp_path / "before.json"
    one = ["minimal", "--processes", 1]
    file.write_text('{"minimal, 1 process": "0"}')
    output = succeed(script, *one, "--compare", file, "--save", file, cwd=tmp_path)
    assert output.count("  DIFFERENT") == 1
    assert succeed(script, *one, "--compare", file, cwd=tmp_path).count("  same") == 1
