import csv
import re
import sys
from io import BytesIO
from math import isclose

import pytest
import torch

import report
import train
from parse_config import ConfigParser
from tools.history import Run
from tools.predictions import Worst, draw_confusion
from tools.report import Report

pytest.importorskip("matplotlib")


@pytest.fixture
def trained(make_trainer):
    trainer = make_trainer({"trainer.len_epoch": 10, "trainer.epochs": 3})
    trainer.train()
    return trainer


def test_a_page_that_needs_nothing_else(trained):
    from PIL import Image

    page = report.write(trained.checkpoint_dir)
    html = page.read_text(encoding="utf-8")
    assert "http" not in html.replace("http-equiv", "")
    pictures = re.findall(r'src="([^"]{20})', html)
    assert len(pictures) == 4 and set(pictures) == {"data:image/png;base64"[:20]}
    headings = re.findall("<h2>(.*)</h2>", html)
    assert headings == [
        "Result",
        "Curves",
        "Learning rate and time",
        "Predictions",
        "Reproduce",
        "Config",
        "Environment",
    ]
    assert f"python train.py -c {trained.checkpoint_dir / 'config.json'}" in html
    pngs = {path.stem: path for path in (page.parent / "report").glob("*.png")}
    assert set(pngs) == {"curves", "schedule", "confusion", "worst"}
    for path in pngs.values():
        Image.open(BytesIO(path.read_bytes())).verify()


def test_what_it_says_is_what_the_run_has(trained):
    html = report.write(trained.checkpoint_dir).read_text(encoding="utf-8")
    with open(trained.checkpoint_dir / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["val_loss"]))
    said = re.search(r"best val_loss</td><td>(\S+) in epoch (\d+)", html)
    assert isclose(float(said[1]), float(best["val_loss"]), rel_tol=1e-3)
    assert said[2] == best["epoch"]
    said = re.search(r"model_best.pth of epoch (\d+) on 150 samples .*: ([\d.]+)% right", html)
    assert said[1] == best["epoch"]
    assert isclose(float(said[2]) / 100, float(best["val_accuracy"]), abs_tol=6e-4)
    assert "<td>finished " in html and "<td>3 of 3</td>" in html


def test_a_stop_that_came_early_is_marked(make_trainer):
    changes = {"trainer.early_stop": 1, "trainer.epochs": 9, "optimizer.args.lr": 0.0}
    trainer = make_trainer(changes)
    trainer.train()
    run = Run(trainer.checkpoint_dir)
    marks = []
    axes = type("Axes", (), {"axvline": lambda self, x, **looks: marks.append((looks["label"], x))})
    report.mark(axes(), run)
    assert marks == [("best", 1), ("stopped early", 2)]
    assert "stopped early" in report.write(run.path).read_text(encoding="utf-8")


REGRESSION = """
import torch
from torch import nn
from base import BaseDataLoader


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x)


class Points(BaseDataLoader):
    def __init__(self, batch_size=8, shuffle=True, validation_split=0.25, num_workers=0):
        x = torch.linspace(0, 1, 80)[:, None]
        data = torch.utils.data.TensorDataset(x, 2 * x)
        super().__init__(data, batch_size, shuffle, validation_split, num_workers)
"""


def test_regression_shows_predicted_against_true(tmp_path, monkeypatch, example_parts):
    (tmp_path / "regression_parts.py").write_text(REGRESSION)
    monkeypatch.syspath_prepend(tmp_path)
    config = {
        "arch": "regression_parts.Line",
        "data_loader": "regression_parts.Points",
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "loss": "mse_loss",
        "device": "cpu",
        "trainer": {"epochs": 2, "save_dir": str(tmp_path / "saved"), "tensorboard": False},
    }
    trainer = train.build_trainer(ConfigParser(config))
    trainer.train()
    page = report.write(trainer.checkpoint_dir)
    said = re.search(r"on 20 samples .*: off by ([\d.]+) on average", page.read_text("utf-8"))
    x, y = next(iter(torch.utils.data.DataLoader(trainer.valid_data_loader.dataset, 80)))
    chosen = torch.as_tensor(trainer.data_loader.valid_sampler.indices)
    state = torch.load(page.parent / "model_best.pth", weights_only=True)["state_dict"]
    off = (x * state["layer.weight"] + state["layer.bias"] - y)[chosen].abs().mean().item()
    assert isclose(float(said[1]), off, rel_tol=1e-3)
    assert {path.stem for path in (page.parent / "report").iterdir()} == {
        "curves",
        "schedule",
        "predicted",
    }


def test_predictions_that_cannot_be_shown_are_a_line_in_the_page(trained):
    (trained.checkpoint_dir / "model_best.pth").write_bytes(b"")
    html = report.write(trained.checkpoint_dir).read_text(encoding="utf-8")
    assert "model_best.pth: no predictions to show: " in html and "Learning rate" in html
    for path in trained.checkpoint_dir.glob("*.pth"):
        path.unlink()
    html = report.write(trained.checkpoint_dir).read_text(encoding="utf-8")
    assert "There is no checkpoint whose predictions could be shown." in html


def test_training_ends_with_a_report_unless_told_otherwise(make_trainer, capsys):
    trainers = [
        make_trainer({"trainer.epochs": 1, "trainer.report": wanted}) for wanted in (False, True)
    ]
    for trainer in trainers:
        trainer.train()
    pages = [trainer.checkpoint_dir / "report.html" for trainer in trainers]
    assert [page.exists() for page in pages] == [False, True]
    assert f"Report: {pages[1]}\n" in capsys.readouterr().out


@pytest.fixture
def with_report(trained):
    """A finished run whose config asks for a report."""
    trained.config.settings.trainer.report = True
    return trained


def test_a_report_leaves_the_random_stream_alone(with_report):
    state = torch.get_rng_state()
    Report().on_train_end(with_report, "finished")
    assert (with_report.checkpoint_dir / "report.html").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_report_that_fails_is_a_warning(with_report, monkeypatch, capsys):
    run_dir = with_report.checkpoint_dir
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    Report().on_train_end(with_report, "finished")
    line = "no report: matplotlib is not installed (pip install matplotlib)\n"
    assert capsys.readouterr().out.endswith(line)
    (run_dir / "metrics.csv").write_text("epoch\n\x00")
    Report().on_train_end(with_report, "finished")
    assert "no report: " in capsys.readouterr().out
    assert not (run_dir / "report.html").exists()


@pytest.mark.parametrize("name", ["none", "."])
def test_what_is_no_run_is_named_in_one_line(tmp_path, capsys, name):
    with pytest.raises(SystemExit, match="2"):
        report.main([str(tmp_path / name)])
    expected = f"{tmp_path / name}: is not the directory of a run\n"
    assert capsys.readouterr().err == expected


def test_the_worst_are_kept_over_all_batches():
    worst = Worst()
    images = torch.arange(40.0).reshape(40, 1, 1, 1)
    chances = torch.linspace(0.01, 0.99, 40)[torch.randperm(40)]
    outputs = torch.stack([chances.log(), (1 - chances).log()], dim=1)
    for part in range(0, 40, 8):
        batch = slice(part, part + 8)
        worst.see(images[batch], outputs[batch], torch.zeros(8, dtype=torch.long))
    assert worst.images.flatten().tolist() == chances.argsort()[:16].tolist()
    assert torch.allclose((-worst.losses).exp(), chances.sort().values[:16])


@pytest.mark.parametrize("classes", [2, 30])
def test_a_confusion_matrix_of_few_and_of_many_classes(classes):
    given = torch.arange(100) % classes
    assert draw_confusion(given, given.flip(0), classes).startswith(b"\x89PNG")
