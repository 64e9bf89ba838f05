"""Which samples are held out, where the config says more than how many."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from base import BaseDataLoader
from data_loader import data_loaders
from digits_example import DIGITS
from test import build_test_loader
from train import build_trainer
from utils.errors import UserError
from utils.files import read_json


class Dated(BaseDataLoader):
    """Digits of writers, on days; with `as_dicts` the samples say it, else the data set."""

    def __init__(
        self, batch_size=64, validation_split=0.2, shuffle=True, training=True, as_dicts=False
    ):
        with np.load(DIGITS) as arrays:
            labels = arrays["train_labels" if training else "test_labels"].tolist()
        writers = [f"writer {i * i % 23}" for i in range(len(labels))]
        days = [f"2024-{1 + i * 7 % 12:02}-{1 + i % 28:02}" for i in range(len(labels))]
        rows = zip(labels, writers, days, strict=True)
        if as_dicts:
            samples = [{"label": y, "writer": writer, "day": day} for y, writer, day in rows]
        else:
            samples = Samples([(torch.zeros(1, 8, 8), y) for y in labels])
            samples.targets, samples.writer, samples.day = labels, writers, days
        self.labels, self.writers, self.days = labels, writers, days
        super().__init__(samples, batch_size, shuffle, validation_split, 0)


class Samples(torch.utils.data.Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.fixture
def loader_of(monkeypatch, make_config):
    monkeypatch.setattr(data_loaders, "Dated", Dated, raising=False)

    def make(split, seed=0, **args):
        loader = {"type": "tools.splits.Dated", "args": {"split": split, **args}}
        config = make_config({"data_loader": loader, "seed": seed})
        config.check_parts({"data_loader": [data_loaders]})
        return config.init_obj("data_loader", [data_loaders])

    return make


def parts(loader):
    train, valid = loader.sampler.indices.tolist(), loader.valid_sampler.indices.tolist()
    assert not set(train) & set(valid) and loader.n_samples == len(train) == len(set(train))
    return train, valid


def test_stratified_by_label(loader_of):
    loader = loader_of("stratified")
    train, valid = parts(loader)
    assert len(valid) == 300 and len(train) == 1200
    of_all, held_out = (Counter(loader.labels[i] for i in which) for which in (range(1500), valid))
    assert all(abs(held_out[label] - of_all[label] / 5) <= 1 for label in range(10))
    assert valid != [*range(0, 1500, 5)] and parts(loader_of("stratified")) == (train, valid)
    assert sum(len(y) for _, y in loader.split_validation()) == 300
    few = loader_of("stratified", validation_split=7)
    assert len(parts(few)[1]) == 7


@pytest.mark.parametrize("as_dicts", [False, True])
def test_by_a_key(loader_of, as_dicts):
    loader = loader_of({"grouped": "writer"}, as_dicts=as_dicts)
    train, valid = ({loader.writers[i] for i in part} for part in parts(loader))
    assert not train & valid and len(train | valid) == 12
    assert 200 <= len(parts(loader)[1]) <= 300
    loader = loader_of({"chronological": "day"}, as_dicts=as_dicts)
    train, valid = parts(loader)
    assert len(valid) == 300
    assert max(loader.days[i] for i in train) <= min(loader.days[i] for i in valid)
    loader = loader_of({"stratified": "writer"}, as_dicts=as_dicts)
    of_all, held_out = Counter(loader.writers), Counter(loader.writers[i] for i in parts(loader)[1])
    assert all(abs(held_out[one] - of_all[one] / 5) <= 1 for one in of_all)


def test_in_the_order_of_the_samples(loader_of):
    assert parts(loader_of("chronological")) == ([*range(1200)], [*range(1200, 1500)])


def test_given_indices_as_those_of_another_run(loader_of, make_config, tmp_path):
    trainer = build_trainer(make_config({"metrics": []}))
    trainer.train()
    data = trainer.checkpoint_dir / "data.json"
    own = [sampler.indices.tolist() for sampler in (trainer.data_loader.sampler,)]
    assert parts(loader_of({"indices": str(data)}))[0] == own[0]
    file = tmp_path / "split.json"
    file.write_text(json.dumps({"validation": [5, 3, 1499]}))
    train, valid = parts(loader_of({"indices": str(file)}))
    assert valid == [3, 5, 1499] and len(train) == 1497
    file.write_text(json.dumps({"training": [9, 1], "validation": [5, 3]}))
    assert parts(loader_of({"indices": str(file)})) == ([1, 9], [3, 5])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"validation": [1, 1]}, "split.json: validation: must be a list of different indices"),
        ({"training": [1]}, "split.json: validation: must be a list of different indices"),
        ({"validation": [1500]}, "validation: there are 1500 samples, from 0 to 1499"),
        ({"validation": [-1]}, "validation: there are 1500 samples, from 0 to 1499"),
        ({"validation": [1, 2], "training": [2]}, "sample 2 is in training and in validation"),
    ],
)
def test_wrong_indices_are_refused(loader_of, tmp_path, content, said):
    file = tmp_path / "split.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        loader_of({"indices": str(file)})


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("stratifed", 'split = \'stratifed\': must be "stratified", "chronological", {"grouped"'),
        ("grouped", "split = 'grouped': must be"),
        ({}, "split = {}: must be"),
        ({"grouped": "doctor"}, "grouped = 'doctor': is no attribute of the data set"),
        (3, "data_loader.args.split = 3: must be a string or a block"),
    ],
)
def test_a_wrong_split_is_one_line(loader_of, split, said):
    with pytest.raises(UserError) as caught:
        loader_of(split)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("module", ["splits", "folds"])
def test_a_wrong_loader_below_a_split_is_one_line_with_the_loaders(make_config, module):
    for name, hint in (("DigitDataLoader", "did you mean 'DigitsDataLoader'?"), ("X", "valid: ")):
        with pytest.raises(UserError) as caught:
            build_trainer(make_config({"data_loader.type": f"tools.{module}.{name}"}))
        line = f"data_loader.type: there is no BaseDataLoader {name!r} in data_loader.data_loaders"
        assert f"{line}; {hint}" in str(caught.value) and "\n" not in str(caught.value)
        assert "InSplit" not in str(caught.value) and "BaseDataLoader," not in str(caught.value)


def test_groups_that_are_too_large_are_named(loader_of):
    with pytest.raises(UserError, match="each group by writer has 66 samples or more, and 20 are"):
        loader_of({"grouped": "writer"}, validation_split=20)


def test_a_run_records_its_split_and_test_data_have_none(make_config):
    loader = {"type": "tools.splits.DigitsDataLoader", "args": {"split": "stratified"}}
    trainer = build_trainer(make_config({"data_loader": loader}))
    trainer.train()
    data = read_json(trainer.checkpoint_dir / "data.json")
    assert data["split"] == "stratified" and len(data["validation"]) == 150
    assert data["validation"] == trainer.data_loader.valid_sampler.indices.tolist()
    assert len(data["test"]) == build_test_loader(trainer.config).n_samples == 297
    again = build_trainer(make_config(resume=trainer.checkpoint_dir / "last.pth"))
    with pytest.raises(UserError, match="data.json: the data have changed since"):
        again.train()


def test_what_a_split_is_like_is_said_once(make_config, capsys):
    pytest.importorskip("matplotlib")
    loader = {"type": "tools.splits.DigitsDataLoader", "args": {"split": "stratified"}}
    changes = {"data_loader": loader, "trainer.report": True}
    trainer = build_trainer(make_config(changes))
    trainer.train()
    assert (trainer.checkpoint_dir / "report.html").exists()  # whose pictures load the data again
    assert capsys.readouterr().out.count("1350 samples for training, 150 for validation") == 1
