"""Metrics by the short names of tools/metrics.py, against the same by hand."""

import csv
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import trainer
from base import BaseDataLoader
from data_loader import data_loaders
from digits_example import DIGITS
from model import metric, model
from model.model import BaseModel
from parse_config import ConfigParser
from test import load
from train import CommandLine, build_trainer
from utils.errors import RunError, UserError
from utils.files import PROJECT_DIR, read_json
from utils.inferred import interpret
from utils.meter import MetricTracker

pytest.importorskip("torchmetrics")
pytestmark = pytest.mark.filterwarnings("ignore:No positive samples:UserWarning")
ALL = ["auroc", "average_precision", "f1", "precision", "recall", "iou", "confusion_matrix"]


def outputs_of(trainer, loader):
    """(N, classes) outputs and (N,) targets of all samples of a loader."""
    trainer.model.eval()
    with torch.no_grad():
        pairs = [(trainer.model(x), y) for x, y in loader]
    return [torch.cat(values) for values in zip(*pairs, strict=True)]


def counts_of(outputs, targets, n):
    matrix = torch.zeros(n, n)
    for true, given in zip(targets.tolist(), outputs.argmax(dim=1).tolist(), strict=True):
        matrix[true, given] += 1
    return matrix


def auroc_of(scores, holds):
    """How often a positive has a higher score than a negative."""
    positive, negative = scores[holds, None], scores[None, ~holds]
    return ((positive > negative).float() + (positive == negative).float() / 2).mean().item()


def test_they_are_exact_over_the_epoch(make_trainer):
    changes = {"metrics": ["accuracy", *ALL, "perplexity"], "trainer.monitor": "max val_f1"}
    trained = make_trainer(changes | {"data_loader.args.validation_split": 0.3})
    log = trained.train()
    outputs, targets = outputs_of(trained, trained.valid_data_loader)
    counts = counts_of(outputs, targets, 10)
    right, true, given = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
    chances = outputs.softmax(dim=1)
    expected = {
        "precision": (right / given.clamp(min=1)).mean(),
        "recall": (right / true).mean(),
        "f1": (2 * right / (true + given)).mean(),
        "iou": (right / (true + given - right)).mean(),
        "auroc": np.mean([auroc_of(chances[:, c], targets == c) for c in range(10)]),
        "perplexity": np.exp(log["val_loss"]),
    }
    for name, value in expected.items():
        assert log[f"val_{name}"] == pytest.approx(float(value), abs=1e-5), name
    assert 0 < log["auroc"] < 1 and "val_confusion_matrix" not in log
    with (trained.checkpoint_dir / "confusion_matrix.csv").open() as file:
        assert [[*map(int, row)] for row in csv.reader(file)] == counts.int().tolist()
    # The run's config says what they need, so that others who use it need not find it out
    [_, first, *_] = read_json(trained.checkpoint_dir / "config.json")["metrics"]
    assert first == {"type": "auroc", "args": {"task": "multiclass", "from_logits": True}}
    given = ["-r", str(trained.checkpoint_dir / "last.pth"), "-d", "cpu"]
    config = ConfigParser.from_args(CommandLine(None), argv=given, to_train=False)
    tester, _ = load(config)
    tested = tester.evaluate(tester.data_loader)
    assert 0 < tested["auroc"] < 1
    of_test = [tested[f"confusion_matrix_{i}_{j}"] for i in range(10) for j in range(10)]
    assert sum(of_test) == 297


def test_an_epoch_that_was_interrupted_ends_in_the_same_values(make_config):
    changes = {"metrics": [*ALL, {"type": "f1", "args": {"average": "none"}, "name": "each"}]}
    straight = build_trainer(make_config(changes)).train()
    stopped = build_trainer(make_config(changes))
    save_or_stop = stopped._save_or_stop_if_due

    def stop():
        if stopped.step == 6:  # in the middle of epoch 2
            os.kill(os.getpid(), 15)
        save_or_stop()

    stopped._save_or_stop_if_due = stop
    stopped.asks_each_step = True
    with pytest.raises(RunError):
        stopped.train()
    resumed = build_trainer(make_config(changes, resume=stopped.checkpoint_dir / "last.pth"))
    assert resumed.train() == straight
    assert {f"val_each_{c}" for c in range(10)} < straight.keys()


WORKER = """
import torch
from tools import metrics
from utils import distributed
from utils.meter import MetricTracker
def tracker():
    found = [getattr(metrics, name)("multiclass") for name in NAMES] + [metrics.perplexity()]
    for one in found:
        one.__name__ = type(one).__name__
    return MetricTracker(metrics=found)
generator = torch.Generator().manual_seed(0)
outputs, targets = torch.randn(90, 4, generator=generator), torch.arange(90) % 4
with distributed.process_group():
    rank = distributed.rank()
    for parts in ([slice(0, 50), slice(50, 90)], [slice(0, 90), None]):
        both = tracker()
        for metric in both.collectors if parts[rank] else ():
            metric.update(outputs[parts[rank]], targets[parts[rank]])
        result = both.result()
        alone = tracker()
        for metric in alone.collectors:
            metric.update(outputs, targets)
        expected = {m.__name__: float(m.compute()) for m in alone.collectors}
        assert result.keys() == expected.keys() and len(result) == len(NAMES) + 1, result
        assert all(abs(result[k] / expected[k] - 1) < 1e-6 for k in result), (result, expected)
"""


def test_two_processes_have_the_values_of_all_samples(in_two_processes):
    """Also where one of them has no batch."""
    names = [name for name in ALL if name != "confusion_matrix"]
    in_two_processes(f"NAMES = {names}\n{WORKER}")


class Parity(BaseDataLoader):
    """The digits as dicts; what is asked is whether one is odd, and for "mask" where there is ink.

    With "labels", it is whether one is odd and whether it is above 4; with "number", which it is.
    """

    def __init__(self, ask="odd", batch_size=64, validation_split=0.2, training=True):
        with np.load(DIGITS) as arrays:
            images = torch.from_numpy(arrays["train_images"])[:, None] / 16
            labels = torch.from_numpy(arrays["train_labels"]).long()
        targets = {
            "odd": (labels % 2)[:, None].float(),
            "mask": (images > 0.5).float(),
            "labels": torch.stack([labels % 2, labels > 4], dim=1).float(),
            "number": labels.float(),
            "classes of pixels": (images > 0.5).long()[:, 0] + (images > 0.9).long()[:, 0],
        }[ask]
        rows = zip(images, targets, strict=True)
        samples = [{"image": image, "asked": target} for image, target in rows]
        super().__init__(samples, batch_size, True, validation_split, 0)


class Head(BaseModel):
    def __init__(self, n: int = 1, dense: bool = False):
        super().__init__()
        flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, n))
        self.layer = torch.nn.Conv2d(1, n, 3, padding=1) if dense else flat

    def forward(self, x):
        return self.layer(x)


class OfDicts(trainer.Trainer):
    def train_step(self, batch):
        values = self.valid_step(batch)
        self.optimize(values["loss"])
        return values

    def valid_step(self, batch):
        output, target = self.model(batch["image"]), batch["asked"]
        loss = self.criterion(output.reshape(target.shape) if target.ndim == 1 else output, target)
        return {"loss": loss, **self.measure(output, target)}


@pytest.fixture
def of_dicts(monkeypatch, make_config):
    """A trained model for a question about the digits, its log, outputs and targets."""
    monkeypatch.setattr(data_loaders, "Parity", Parity, raising=False)
    monkeypatch.setattr(model, "Head", Head, raising=False)
    monkeypatch.setattr(trainer, "Trainer", OfDicts)

    def train(ask, loss, metrics, **changes):
        loader = {"type": "Parity", "args": {"ask": ask}}
        changes = {"data_loader": loader, "loss": loss, "metrics": metrics, **changes}
        one = build_trainer(make_config({"arch": "Head", "trainer.len_epoch": 6} | changes))
        log = one.train()
        with torch.no_grad():
            pairs = [(one.model(b["image"]), b["asked"]) for b in one.valid_data_loader]
        return log, *(torch.cat(values) for values in zip(*pairs, strict=True))

    return train


@pytest.mark.parametrize("loss", ["binary_cross_entropy_with_logits", "BCEWithLogitsLoss"])
def test_one_label(of_dicts, loss):
    log, outputs, targets = of_dicts("odd", loss, ["auroc", "f1", "confusion_matrix"])
    expected = auroc_of(outputs[:, 0], targets[:, 0] == 1)
    assert log["val_auroc"] == pytest.approx(expected, abs=1e-6)
    given, true = outputs[:, 0] > 0, targets[:, 0] == 1
    f1 = 2 * (given & true).sum() / (given.sum() + true.sum())
    assert log["val_f1"] == pytest.approx(f1.item())


def test_outputs_are_logits_also_where_a_batch_of_them_looks_like_probabilities():
    from tools.metrics import auroc

    scores, holds = torch.tensor([0.9, 0.2, 3.0, -2.0, 0.55]), torch.tensor([0, 1, 1, 0, 1])
    found = auroc("binary")
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        found.update(scores[part], holds[part])
    assert found.compute().item() == pytest.approx(auroc_of(scores, holds == 1))


def test_several_labels(of_dicts):
    loss = "binary_cross_entropy_with_logits"
    log, outputs, targets = of_dicts(
        "labels", loss, ["auroc"], arch={"type": "Head", "args": {"n": 2}}
    )
    expected = [auroc_of(outputs[:, label], targets[:, label] == 1) for label in range(2)]
    assert log["val_auroc"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_a_segmentation_by_dicts(of_dicts):
    arch = {"type": "Head", "args": {"dense": True}}
    loss = "binary_cross_entropy_with_logits"
    log, outputs, targets = of_dicts("mask", loss, ["iou"], arch=arch, task="binary")
    given, true = outputs > 0, targets == 1
    assert log["val_iou"] == pytest.approx(((given & true).sum() / (given | true).sum()).item())
    bce = partial(F.binary_cross_entropy_with_logits)
    task, values = interpret({"task": "binary"}, bce, outputs)  # as for the report
    assert task == "binary" and torch.equal(values, outputs.sigmoid())
    arch["args"]["n"] = 3
    log, outputs, targets = of_dicts("classes of pixels", "cross_entropy", ["iou"], arch=arch)
    counts = counts_of(outputs.movedim(1, -1).reshape(-1, 3), targets.flatten(), 3)
    union = counts.sum(dim=0) + counts.sum(dim=1) - counts.diag()
    assert log["val_iou"] == pytest.approx((counts.diag() / union).mean().item(), abs=1e-5)


def test_numbers(of_dicts):
    log, outputs, targets = of_dicts("number", "mse_loss", ["mae", "r2"])
    off = outputs[:, 0] - targets
    assert log["val_mae"] == pytest.approx(off.abs().mean().item(), rel=1e-4)
    r2 = 1 - off.square().mean() / (targets - targets.mean()).square().mean()
    assert log["val_r2"] == pytest.approx(r2.item(), rel=1e-3)


@pytest.mark.parametrize("shape", [(12, 5), (4, 5, 3)])
def test_perplexity_is_that_of_cross_entropy(shape):
    """Also where some tokens are left out, in batches of other sizes."""
    from tools.metrics import perplexity

    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(12).reshape(outputs.movedim(1, -1).shape[:-1]) % 5
    targets.view(-1)[::4] = -100
    found = perplexity()
    for part in (slice(0, 1), slice(1, None)):
        found.update(outputs[part], targets[part])
    assert found.compute().item() == pytest.approx(F.cross_entropy(outputs, targets).exp().item())


def test_classes_that_the_loss_ignores_are_left_out():
    from tools.metrics import f1, iou

    outputs, targets = torch.eye(4)[[0, 1, 2, 3, 0]] * 9, torch.tensor([0, 1, 2, 3, -100])
    for found in (f1("multiclass"), iou("multiclass")):
        found.update(outputs, targets)
        assert found.compute() == 1


def test_mistakes_are_one_line_before_training(make_config):
    def line(of, **changes):
        with pytest.raises(UserError) as caught:
            build_trainer(make_config({"metrics": [of], **changes}))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert line("aurocc").endswith("did you mean 'auroc'?")
    assert "Unexpected keyword arguments: `averge`" in line({"type": "f1", "args": {"averge": 1}})
    assert line("f1", loss={"type": "KLDivLoss"}).startswith('metrics.0: f1: "task" in the config')
    wrong = {"type": "f1", "args": {"task": "multi"}}
    assert 'metrics.0.args.task = "multi": must be "multiclass"' in line(wrong)


def test_what_does_not_fit_or_is_too_much_is_one_line():
    from tools.metrics import f1, recall

    with pytest.raises(
        UserError, match=r"f1: outputs of \(4, 1\) and targets of \(5,\) do not fit"
    ):
        f1("binary").update(torch.zeros(4, 1), torch.zeros(5))
    found = recall("multiclass", average="none")
    found.update(torch.zeros(3, 101), torch.zeros(3).long())
    with pytest.raises(UserError, match="recall has 101 values, too many for a log"):
        found.compute()


def test_a_metric_of_the_project_wins(make_config, monkeypatch):
    def f1(output, target):
        return torch.tensor(0.25)

    f1.__module__ = metric.__name__
    monkeypatch.setattr(metric, "f1", f1, raising=False)
    assert build_trainer(make_config({"metrics": ["f1"]})).train()["val_f1"] == 0.25


def test_nothing_was_seen():
    from tools.metrics import auroc

    assert MetricTracker(metrics=[auroc("binary")]).result() == {}


def test_help_waits_for_no_torchmetrics():
    code = "import sys, train; train.part_modules(); sys.exit('torchmetrics' in sys.modules)"
    path = os.pathsep.join([str(PROJECT_DIR), str(Path(__file__).parent)])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0
