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
from tools.drawing import caption
from tools.history import RecordedRun
from tools.predictions import Classes, draw_confusion, roc
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
    run = RecordedRun(trainer.checkpoint_dir)
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
    err = capsys.readouterr().err
    assert (
        err.startswith(f"{tmp_path / name}: is not the directory of a run") and err.count("\n") == 1
    )


def test_the_worst_are_kept_over_all_batches():
    seen = Classes()
    images = torch.arange(40.0).reshape(40, 1, 1, 1)
    chances = torch.linspace(0.01, 0.99, 40)[torch.randperm(40)]
    values = torch.stack([chances, 1 - chances], dim=1)
    for part in range(0, 40, 8):
        batch = slice(part, part + 8)
        seen.see(values[batch], torch.zeros(8, dtype=torch.long), images[batch])
    assert seen.images.flatten().tolist() == chances.argsort()[:16].tolist()
    assert torch.equal(seen.chances, chances.sort().values[:16])
    assert seen.counts.tolist() == [[20, 20], [0, 0]]


def test_classes_of_pixels_are_counted_without_those_that_are_ignored():
    seen = Classes()
    values = torch.tensor([[0.2, 0.9], [0.8, 0.1]])[None]  # two classes, two pixels
    seen.see(values, torch.tensor([[1, -100]]), torch.zeros(1, 3, 1, 2))
    assert seen.counts.tolist() == [[0, 0], [0, 1]] and seen.images is None


@pytest.mark.parametrize("classes", [2, 30])
def test_a_confusion_matrix_of_few_and_of_many_classes(classes):
    counts = torch.arange(classes**2).reshape(classes, classes)
    assert draw_confusion(counts, [str(n) for n in range(classes)]).startswith(b"\x89PNG")


def test_the_area_under_the_roc_curve_is_how_often_a_pair_is_in_order():
    torch.manual_seed(0)
    scores, holds = torch.rand(50).mul(20).round(), torch.rand(50) > 0.6  # with equal scores
    false, true = roc(scores, holds)
    pairs = scores[holds][:, None] - scores[~holds]
    wanted = (pairs > 0).float().mean() + (pairs == 0).float().mean() / 2
    assert torch.trapezoid(true, false).item() == pytest.approx(wanted.item())


PARTS = """
import torch
from torch import nn
from base import BaseDataLoader
from trainer.trainer import Trainer


class Rows(torch.utils.data.Dataset):
    def __init__(self, n):
        self.x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
        self.y = (self.x[:, :n] > 0).float()

    def __len__(self):
        return 80

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.y[index]}


class Dicts(BaseDataLoader):
    def __init__(self, n=1, batch_size=8, shuffle=True, validation_split=0.5, num_workers=0):
        super().__init__(Rows(n), batch_size, shuffle, validation_split, num_workers)


class DictTrainer(Trainer):
    measures = True

    def train_step(self, batch):
        loss = self.criterion(self.model(batch["x"]), batch["y"])
        self.optimize(loss)
        return {"loss": loss}

    def valid_step(self, batch):
        output = self.model(batch["x"])
        if self.measures:
            self.measure(output, batch["y"])
        return {"loss": self.criterion(output, batch["y"])}


class Net(nn.Linear):
    def __init__(self, n=1):
        super().__init__(4, n)
"""


@pytest.fixture
def report_of(tmp_path, monkeypatch, example_parts):
    """Train on batches that are dicts; the page, its pictures, and the sentence on predictions."""
    (tmp_path / "dict_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dict_parts", raising=False)

    def run(loss, n=1, task=None, measures=True):
        import dict_parts

        monkeypatch.setattr("trainer.Trainer", dict_parts.DictTrainer)
        monkeypatch.setattr("tools.predictions.Trainer", dict_parts.DictTrainer)
        dict_parts.DictTrainer.measures = measures
        config = {
            "arch": {"type": "dict_parts.Net", "args": {"n": n}},
            "data_loader": {"type": "dict_parts.Dicts", "args": {"n": n}},
            "optimizer": {"type": "Adam", "args": {"lr": 0.1}},
            "loss": loss,
            "task": task,
            "device": "cpu",
            "trainer": {"epochs": 2, "save_dir": str(tmp_path / "saved"), "tensorboard": False},
        }
        trainer = train.build_trainer(ConfigParser(config))
        trainer.train()
        page = report.write(trainer.checkpoint_dir)
        [about] = re.findall('<p class="note">(.*)</p>', page.read_text("utf-8"))
        return about, {path.stem for path in (page.parent / "report").iterdir()}

    return run


@pytest.mark.parametrize(
    ("loss", "n", "task", "picture", "said"),
    [
        (
            "binary_cross_entropy_with_logits",
            1,
            None,
            "roc",
            r"\d% right at 0.5; the area .* 0\.\d+",
        ),
        ("BCEWithLogitsLoss", 3, None, "roc", r"ROC curve is 0\.\d+ on average\."),
        ("mse_loss", 3, None, "predicted", "off by [0-9.]+ on average"),
        ("mse_loss", 1, "binary", "roc", "area under the ROC curve"),
        (
            "soft_margin_loss",
            1,
            None,
            "",
            "it is not known what the outputs mean: set",
        ),
    ],
)
def test_dict_batches_are_drawn_by_the_task(report_of, loss, n, task, picture, said):
    about, pictures = report_of(loss, n, task)
    assert pictures == {"curves", "schedule", picture} - {""}
    assert re.search(said, about), about


def test_a_valid_step_that_measures_nothing_is_told_how_to(report_of):
    about, pictures = report_of("mse_loss", measures=False)
    assert pictures == {"curves", "schedule"}
    assert "DictTrainer does not say what was predicted: let valid_step call self.measure" in about


def test_captions_are_in_words():
    assert caption(5, "three", 0.0864) == "predicted 5, true three,\nprobability 8.6 %"


@pytest.fixture
def two_runs(make_config, tmp_path):
    for number, rate in enumerate([1e-4, 1e-2]):
        changes = {"optimizer.args.lr": rate, "trainer.epochs": 1}
        train.build_trainer(make_config(changes, run_id=f"run{number}")).train()
    return tmp_path / "saved"


def test_the_page_of_all_runs_has_the_table_and_a_color_for_each(two_runs, capsys):
    report.main([str(two_runs)])
    assert capsys.readouterr().out.endswith(f"{two_runs / 'runs.html'}\n")
    page = (two_runs / "runs.html").read_text(encoding="utf-8")
    assert "<th>optimizer.args.lr</th>" in page and page.count('src="data:image/png') == 1
    assert set(re.findall(r'color: (#\w+)">', page)) == {"#1f77b4", "#ff7f0e"}
    assert "http" not in page and "<th>time</th>" in page
    report.main([str(two_runs)])
    (two_runs / "runs.html").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        report.main([str(two_runs)])
    assert (two_runs / "runs.html").read_text() == "mine"
