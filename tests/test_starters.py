"""What each starter brings learns what its README says, and goes on after a stop."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import python, succeed
from test_bake import STARTER_FILES
from test_run import the_run

pytestmark = pytest.mark.slow

# What the README of each starter says, and between which values the result on held-out data lies
RESULTS = {
    "mnist": [("97 %", "accuracy", 0.96, 0.99)],
    "minimal": [("at least 95 %", "accuracy", 0.95, 1)],
    "text": [("about 75 %", "accuracy", 0.72, 0.79)],
    "tabular": [("about 0.968", "r2", 0.96, 0.98), ("367 dollars", "mae", 0.34, 0.4)],
    "gan": [("about 2.6", "frechet", 1.5, 3.2)],
}


# What `python predict.py -r best` is given in the README
INPUTS = {
    "mnist": ["data/mnist_5k.npz", "--array", "test_images"],
    "minimal": ["data/penguins.npz", "--array", "test_inputs"],
    "text": ["data/names.csv"],
    "tabular": ["data/diamonds.csv"],
}


def column(project, name, key):
    with (project / "data" / name).open(newline="", encoding="utf-8") as file:
        return [row[key] for row in csv.DictReader(file)]


# True values; the largest mean error of numbers, or the least share of right classes
TARGETS = {
    "mnist": lambda project: (np.load(project / "data/mnist_5k.npz")["test_labels"], False, 0.96),
    "minimal": lambda project: (
        np.load(project / "data/penguins.npz")["test_targets"],
        False,
        0.94,
    ),
    "text": lambda project: (column(project, "names.csv", "language"), False, 0.75),
    "tabular": lambda project: (
        [float(price) / 1000 for price in column(project, "diamonds.csv", "price")],
        True,
        0.4,
    ),
}


@pytest.fixture(scope="module", params=STARTER_FILES)
def trained(request, train):
    """A project of each starter after one run with the defaults, and the starter's name."""
    return train(request.param), request.param


def test_each_starter_reaches_the_result_in_its_readme(trained):
    project, starter = trained
    readme = (project / "README.md").read_text(encoding="utf-8")
    output = succeed("test.py", "-r", the_run(project) / "model_best.pth", cwd=project)
    for words, metric, low, high in RESULTS[starter]:
        assert words in readme
        [value] = re.findall(rf"^{metric} +([-\d.]+)$", output, re.MULTILINE)
        assert low <= float(value) <= high, output


def test_the_readme_has_a_command_that_predicts(trained):
    project, starter = trained
    readme = (project / "README.md").read_text(encoding="utf-8")
    if starter == "gan":
        assert "`predict.py` has nothing to predict" in readme
        done = python("predict.py", "-r", "best", *INPUTS["mnist"], cwd=project)
        line = "a GAN makes digits of noise: it predicts nothing of a picture\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
        return
    [command] = re.findall(r"`python (predict\.py -r best [^`]*)`", readme)
    arguments = command.split()
    assert arguments[3:] == INPUTS[starter]
    rows = list(csv.DictReader(succeed(*arguments, cwd=project).splitlines()))
    target, number, right = TARGETS[starter](project)
    assert len(rows) == len(target)
    if number:
        differences = [abs(float(r["output"]) - t) for r, t in zip(rows, target, strict=True)]
        assert sum(differences) / len(differences) < right
    else:
        found = [row["class"] == str(t) for row, t in zip(rows, target, strict=True)]
        assert sum(found) / len(found) > right


def test_the_parts_of_a_starter_are_right(trained):
    """Its own model, loss, metrics and data, by hand; that of mnist is in tests/project."""
    project, starter = trained
    for path in (Path(__file__).parent / "starters").glob(f"test_{starter}.py"):
        copy = Path(shutil.copy(path, project / "tests"))
        succeed("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", copy, cwd=project)
        copy.unlink()


def test_a_stopped_run_ends_as_one_that_was_not(trained):
    project, _ = trained
    output = succeed("train.py", "--verify-resume", cwd=project)
    assert "end bit for bit the same" in output


def test_no_starter_changes_a_line_of_the_core(trained, bake):
    """The default one has the same base, loop and tools as any other."""
    project, _ = trained
    default = bake(size="full")
    core = ["*.py", "base/*", "logger/*", "tools/*", "utils/*", "utils/old/*", "trainer/trainer.py"]
    found = [path for one in core for path in default.glob(one) if path.is_file()]
    names = [path.relative_to(default) for path in found]
    assert len(names) > 30
    for name in names:
        assert (project / name).read_bytes() == (default / name).read_bytes(), name
