"""The penguins, the linear model and the metric that the project begins with."""

import csv

import numpy as np
import pytest
import torch

from data_loader.data_loaders import ArrayDataLoader
from model.metric import accuracy
from model.model import LinearModel
from parse_config import ConfigParser, default_config
from predict import main as predict
from test import load_model
from train import build_trainer
from utils import UserError


def rows(loader):
    return {tuple(row.tolist()) for inputs, _ in loader for row in inputs}


def test_train_validation_and_test_penguins_never_overlap():
    loader = ArrayDataLoader(validation_split=0.25)
    test = ArrayDataLoader(training=False, validation_split=0)
    train, valid, test = rows(loader), rows(loader.split_validation()), rows(test)
    assert (len(train), len(valid), len(test)) == (182, 60, 100)
    assert not (train & valid | train & test | valid & test)


def test_arrays_of_the_users_own(tmp_path):
    inputs, targets = np.arange(12).reshape(6, 2), np.arange(6.0)
    np.savez(tmp_path / "own.npz", train_inputs=inputs, train_targets=targets)
    path = str(tmp_path / "own.npz")
    [(x, y)] = ArrayDataLoader(path, shuffle=False, validation_split=0)
    assert x.tolist() == inputs.tolist() and y.tolist() == targets.tolist()
    with pytest.raises(UserError, match="data_loader.args.path: .*test_inputs"):
        ArrayDataLoader(path, training=False)
    with pytest.raises(UserError, match="data_loader.args.path: .*No such file"):
        ArrayDataLoader("data/none.npz")


CHANCES = ["probability_0", "probability_1", "probability_2"]
TASKS = {  # what the targets are made of three inputs, the loss, and the columns of predict.py
    "multiclass": (
        lambda x: x.argmax(1),
        "cross_entropy",
        ["class", "probability", *CHANCES],
    ),
    "multilabel": (lambda x: (x > 0).astype("f4"), "BCEWithLogitsLoss", CHANCES),
    "binary": (
        lambda x: (x[:, :1] > 0).astype("f4"),
        "binary_cross_entropy_with_logits",
        ["probability"],
    ),
    "regression": (lambda x: x.astype("f4"), "mse_loss", ["output_0", "output_1", "output_2"]),
    "none": (lambda x: x.astype("f4"), "soft_margin_loss", ["output_0", "output_1", "output_2"]),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_model_of_each_task_is_trained_and_asked(task, tmp_path):
    make, loss, columns = TASKS[task]
    inputs = np.random.default_rng(0).normal(size=(300, 3)).astype("f4")
    targets = make(inputs)
    path = str(tmp_path / "own.npz")
    np.savez(path, train_inputs=inputs, train_targets=targets, test_inputs=inputs)
    changes = {
        "arch.args": {"n_inputs": 3, "n_outputs": 1 if task == "binary" else 3},
        "data_loader.args.path": path,
        "optimizer.args.lr": 0.1,
        "loss": loss,
        "metrics": [],
        "device": "cpu",
        "trainer.save_dir": str(tmp_path / "saved"),
        "trainer.tensorboard": False,
    }
    trainer = build_trainer(ConfigParser.from_file(default_config(), changes))
    trainer.train()
    best, table = trainer.checkpoint_dir / "model_best.pth", tmp_path / "said.csv"
    predict(["-r", str(best), "-d", "cpu", "-o", str(table), path, "--array", "test_inputs"])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["input", *columns] and len(rows) == 300
    said = np.array([[float(row[name]) for name in columns] for row in rows])
    if task == "multiclass":
        assert (said[:, 0] == targets).mean() > 0.95 and np.allclose(
            said[:, 2:].sum(1), 1, atol=1e-4
        )
    elif task in ("multilabel", "binary"):
        assert ((said > 0.5) == (targets > 0.5)).mean() > 0.95
        assert 0 <= said.min() < said.max() <= 1
    else:
        best_model = load_model(best, "cpu")
        with torch.no_grad():
            assert np.allclose(said, best_model(torch.from_numpy(inputs)).numpy(), atol=1e-5)
        assert task == "none" or np.abs(said - targets).mean() < 0.05


def test_the_scale_of_an_input_makes_no_difference():
    torch.manual_seed(0)
    model = LinearModel(n_inputs=2, n_outputs=3)
    x = torch.randn(50, 2)
    assert model(x).shape == (50, 3)
    assert torch.allclose(model(x), model(x * 1000 + 7), atol=1e-3)


def test_the_model_is_linear():
    model = LinearModel().eval()
    a, b = torch.rand(2, 4), torch.rand(2, 4)
    assert torch.allclose(model((a + b) / 2), (model(a) + model(b)) / 2, atol=1e-6)


def test_accuracy_by_hand():
    output = torch.tensor([[2.0, 1], [0, 1], [3, 0]])
    assert accuracy(output, torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)
