"""The penguins, the linear model and the metric that the project begins with."""

import numpy as np
import pytest
import torch

from data_loader.data_loaders import ArrayDataLoader
from model.metric import accuracy
from model.model import LinearModel
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
