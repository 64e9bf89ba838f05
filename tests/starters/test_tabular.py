"""The diamonds, the network and the metrics that the project begins with."""

import pytest
import torch
from data_loader.diamonds import encode, read_diamonds

from data_loader.data_loaders import DiamondsDataLoader
from model.metric import R2, mae
from model.model import Normalise, TabularModel
from parse_config import default_config
from utils import UserError
from utils.files import PROJECT_DIR, read_config

TABLE = PROJECT_DIR / "data" / "diamonds.csv"


def rows(loader):
    return {
        (*row.tolist(), price.item()) for x, y in loader for row, price in zip(x, y, strict=True)
    }


def test_train_validation_and_test_diamonds_never_overlap():
    loader = DiamondsDataLoader(validation_split=500)
    test = DiamondsDataLoader(training=False, validation_split=0)
    train, valid, test = map(rows, (loader, loader.split_validation(), test))
    assert (len(train), len(valid), len(test)) == (4500, 500, 1000)
    assert not (train & valid | train & test | valid & test)


def test_a_row_as_numbers():
    row = dict.fromkeys(["carat", "depth", "table", "x", "y", "z"], "2.5")
    numbers = encode(row | {"cut": "Good", "color": "D", "clarity": "IF"})
    assert numbers == [2.5] * 6 + [0, 1, 0, 0, 0] + [1, 0, 0, 0, 0, 0, 0] + [0] * 7 + [1]
    assert read_config(default_config())["arch"]["args"]["n_inputs"] == len(numbers)


def test_every_row_has_one_value_of_each_category():
    inputs, prices = read_diamonds(TABLE, "train")
    for start, end in ((6, 11), (11, 18), (18, 26)):
        assert (inputs[:, start:end].sum(dim=1) == 1).all()
    assert inputs.shape == (5000, 26) and 0.3 < prices.min() < prices.max() < 19


def test_inputs_are_normalised_by_what_was_trained_on_alone():
    torch.manual_seed(0)
    x = torch.rand(70, 3) * torch.tensor([1, 1000, 0]) + torch.tensor([5, 0, 3])
    normalise = Normalise(3)
    for batch in x.split(32):  # uneven batches, of which the last has 6 rows
        normalise(batch)
    assert torch.allclose(normalise.mean, x.mean(dim=0), rtol=1e-5)
    normalise.eval()
    before = normalise.mean.clone()
    normalise(torch.full((10, 3), 1e6))
    assert torch.equal(normalise.mean, before)
    z = normalise(x)
    assert torch.allclose(z.mean(dim=0), torch.zeros(3), atol=1e-5)
    deviations = z.std(dim=0, correction=0)
    assert torch.allclose(deviations, torch.tensor([1.0, 1, 0]), atol=1e-4)  # the last is constant


def test_what_was_measured_goes_with_the_weights():
    model = TabularModel()
    model(torch.rand(8, 26) + 3)
    assert {"normalise.n", "normalise.mean", "normalise.squares"} < set(model.state_dict())
    assert model.normalise.n == 8 and model(torch.rand(1, 26)).shape == (1,)


def test_metrics_by_hand():
    output, target = torch.tensor([1.0, 2, 3, 5]), torch.tensor([1.0, 2, 4, 4])
    assert mae(output, target) == 0.5
    r2 = R2()
    for part in (slice(0, 1), slice(1, 4)):
        r2.update(output[part], target[part])
    mean = 11 / 4
    total = sum((t - mean) ** 2 for t in target.tolist())
    assert r2.compute().item() == pytest.approx(1 - 2 / total)
    first, second = R2(), R2()
    first.update(output[:1], target[:1]), second.update(output[1:], target[1:])
    first.merge(vars(second))
    assert first.compute() == r2.compute()
    r2.reset()
    r2.update(target, target)
    assert r2.compute() == 1


def test_r2_is_no_mean_of_batches():
    target = torch.tensor([0.0, 1, 10, 11])
    output = torch.tensor([0.5, 0.5, 10.5, 10.5])  # the mean of each pair: 0 within each
    r2 = R2()
    r2.update(output[:2], target[:2])
    r2.update(output[2:], target[2:])
    assert r2.compute() > 0.98


def test_a_missing_table_is_named():
    with pytest.raises(UserError, match="data_loader.args.path: .*none.csv: No such file"):
        DiamondsDataLoader("data/none.csv")
