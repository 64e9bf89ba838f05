"""What is baked works: its tests pass, it trains, resumes and evaluates."""

import csv
import re

import numpy as np
import pytest

from helpers import files, succeed
from test_bake import PROMPTS, ids

pytestmark = pytest.mark.slow

EVERY_CHOICE = [
    {prompt: choices[number % len(choices)] for prompt, choices in PROMPTS.items()}
    for number in range(max(map(len, PROMPTS.values())))
]


def the_run(project):
    """The folder of the only run so far."""
    [run] = (project / "saved").glob("*/*")
    return run


@pytest.mark.parametrize("row", EVERY_CHOICE, ids=ids)
def test_road_from_bake_to_evaluation(row, bake):
    project = bake(**row)
    config = f"config.{row['config_format']}"

    succeed("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)

    assert "All is well." in succeed("train.py", "-c", config, "--check", cwd=project)
    assert not (project / "saved").exists()
    short = ["trainer.epochs=2", "trainer.len_epoch=10", "trainer.save_period=1"]
    succeed("train.py", "-c", config, *short, cwd=project)
    run = the_run(project)
    written = {"checkpoint-epoch1.pth", "checkpoint-epoch2.pth", "model_best.pth"}
    written |= {"last.pth", "config.json", "metrics.csv", "train.log"}
    if row["size"] == "full":
        written |= {"data.json", "environment.json", "report.html"}
    assert written <= files(run)
    assert any("events" in name for name in files(run)) == (row["tensorboard"] == "yes")

    succeed("train.py", "-r", run / "checkpoint-epoch2.pth", "trainer.epochs=3", cwd=project)
    assert the_run(project) == run
    assert "checkpoint-epoch3.pth" in files(run)
    rows = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in rows] == ["epoch", "1", "2", "3"]

    assert "test samples" in succeed("test.py", "-r", run / "model_best.pth", cwd=project)


@pytest.fixture(scope="module")
def trained(train):
    """A project with the defaults after one run with the defaults."""
    return train("mnist")


def test_a_trained_model_is_used(trained, tmp_path):
    best = the_run(trained) / "model_best.pth"
    arguments = [
        "-r",
        best,
        "data/mnist_5k.npz",
        "--array",
        "test_images",
        "-o",
        tmp_path / "p.csv",
    ]
    succeed("predict.py", *arguments, cwd=trained)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()))
    with np.load(trained / "data" / "mnist_5k.npz") as arrays:
        labels = [str(label) for label in arrays["test_labels"]]
    assert len(rows[0]) == 13
    right = [row["class"] == label for row, label in zip(rows, labels, strict=True)]
    assert sum(right) / len(right) >= 0.96
    for to in ("torch.export", "onnx", "safetensors"):
        output = succeed("export.py", "-r", best, "--to", to, "-o", tmp_path / to, cwd=trained)
        assert "on 64 held-out samples" in output and (tmp_path / to).exists()


def test_looking_before_training_makes_no_run(trained):
    before = files(trained)
    assert "20,522 parameters" in succeed("train.py", "--summary", cwd=trained)
    assert "Suggested: optimizer.args.lr=0.00" in succeed("train.py", "--find-lr", cwd=trained)
    assert files(trained) - before == {"saved/Mnist_LeNet/find_lr.png"}
    (trained / "saved" / "Mnist_LeNet" / "find_lr.png").unlink()


def test_evaluation_writes_nothing(trained):
    before = {name: (trained / name).stat().st_mtime_ns for name in files(trained)}
    succeed("test.py", "-r", the_run(trained) / "model_best.pth", cwd=trained)
    assert {name: (trained / name).stat().st_mtime_ns for name in files(trained)} == before


def test_the_working_directory_makes_no_difference(bake, tmp_path):
    tables = []
    for inside in (True, False):
        project = bake()
        cwd, here = (project, "") if inside else (tmp_path, f"{project}/")
        succeed(f"{here}train.py", "-c", f"{here}config.json", "trainer.epochs=1", cwd=cwd)
        best = the_run(project) / "model_best.pth"
        output = succeed(f"{here}test.py", "-r", best, cwd=cwd)
        tables.append(re.findall(r"\b(loss|accuracy|top_k_acc)\W+(\d+\.\d+)", output))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3
    assert not any(tmp_path.iterdir())
