"""Mistakes that once ended in a traceback, or were blamed on something else: one line each."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

import digits_example
from base import BaseDataLoader
from helpers import python
from model import metric
from parse_config import ConfigParser
from tools.check import FirstSteps, describe, refuse_without_merge
from tools.convert import complete
from train import build_trainer, part_modules
from utils import UserError, extras
from utils.check import nearest
from utils.command_line import CommandLine
from utils.errors import in_full
from utils.files import PROJECT_DIR, read_config
from utils.meter import MetricTracker, plain_numbers


def test_an_optimizer_that_takes_a_closure_is_refused(make_trainer):
    trainer = make_trainer({"optimizer": {"type": "LBFGS"}})
    with pytest.raises(UserError, match=r"^optimizer\.type: LBFGS takes a closure"):
        trainer.train()


def test_a_seed_has_64_bits(make_config):
    make_config({"seed": 2**64 - 1})
    with pytest.raises(UserError, match="seed = 18446744073709551616: must be"):
        make_config({"seed": 2**64})


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (range(9), {"sampler": iter(range(9))}, "a range_iterator has no length"),
        (Endless(), {}, ".* expected unspecified shuffle option"),
        (iter(()), {}, "a tuple_iterator has no length"),
    ],
)
def test_what_a_data_loader_cannot_work_with(dataset, options, message):
    with pytest.raises(UserError, match=f"^data_loader: {message}"):
        BaseDataLoader(dataset, 2, True, 0, 0, **options)


def test_a_timeout_is_for_workers(make_config):
    loader = BaseDataLoader(range(9), 2, True, 0, 0, timeout=5)
    with pytest.raises(UserError, match="^data_loader: timeout is for workers"):
        FirstSteps().on_data_built(loader, make_config())


def test_batches_that_overtake_each_other_are_refused(make_config):
    loader = BaseDataLoader(range(9), 2, True, 0, 2, in_order=False)
    with pytest.raises(UserError, match="^data_loader: in_order = false: a resume would"):
        FirstSteps().on_data_built(loader, make_config())


def test_paths_and_numbers_of_numpy_in_a_config(make_config, tmp_path):
    changes = {"trainer.save_dir": tmp_path, "trainer.epochs": np.int64(3)}
    changes["data_loader.args.path"] = tmp_path / "a.npz"
    config = make_config(changes).config
    again = ConfigParser(config | {"seed": np.int64(7)})
    assert json.loads(json.dumps(again.config)) == again.config
    assert (again["seed"], again["trainer"]["epochs"]) == (7, 3)
    assert again["trainer"]["save_dir"] == str(tmp_path)


def test_a_dict_in_the_log_of_an_epoch_and_a_vector():
    log = {"epoch": 1, "recall": {"cat": torch.tensor(0.5), "dog": np.float32(1)}}
    assert plain_numbers(log) == {"epoch": 1, "recall_cat": 0.5, "recall_dog": 1.0}
    with pytest.raises(UserError, match="'f1' is no number: only one element"):
        plain_numbers({"f1": torch.zeros(3)})


def per_class(output, target):
    return torch.zeros(10)


class PerClass:
    def update(self, output, target):
        pass

    def compute(self):
        return torch.zeros(10)

    def reset(self):
        pass


@pytest.mark.parametrize("found", [per_class, PerClass])
def test_a_metric_that_gives_a_vector(make_trainer, monkeypatch, found):
    monkeypatch.setattr(metric, "vector", found, raising=False)
    with pytest.raises(UserError, match="is no number"):
        make_trainer({"metrics": ["vector"], "trainer.monitor": "off"}).train()


def test_a_byte_order_mark(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"seed": 1}', encoding="utf-8-sig")
    assert read_config(path) == {"seed": 1}


def test_one_learning_rate_for_several_optimizers(make_config):
    several = {"encoder": {"type": "SGD"}, "decoder": {"type": "SGD"}}
    line = r"^command line: optimizer\.args\.lr: there are several: encoder, decoder"
    with pytest.raises(UserError, match=line):
        make_config({"optimizer": several, "optimizer.args.lr": 0.1})


def test_what_only_a_full_project_has_is_told(make_config, monkeypatch):
    flags = {"--" + k.replace("_", "-") for k, text in extras.texts().items() if "\nFLAG" in text}
    assert flags - {"--check"} == {*extras.FLAGS}
    for flag in extras.FLAGS:
        with pytest.raises(UserError) as refused:
            CommandLine(None).parse_args([flag])
        line = f"command line: unrecognized arguments: {flag}; {in_full()}"
        assert str(refused.value) == line
    config = make_config({"trainer.histograms": True, "parallel.recompute": ["A"]})
    config.check_parts({})
    monkeypatch.setattr(extras, "texts", dict)
    make_config().check_parts({})
    with pytest.raises(UserError) as caught:
        config.check_parts({})
    keys = [line.removesuffix(f": {in_full()}") for line in str(caught.value).splitlines()]
    assert keys == ["command line: parallel.recompute", "command line: trainer.histograms"]


def test_of_many_names_none_is_listed_that_is_not_near(make_config):
    line = r"there is no 'nope' in model\.loss or torch\.nn or .*functional; none of \d+ is near$"
    with pytest.raises(UserError, match=line):
        make_config({"loss": "nope"}).check_parts(part_modules())


def test_a_python_without_torch():
    code = "import sys; sys.modules['torch'] = None; import runpy; sys.argv = ['train.py']\n"
    code += "runpy.run_path('train.py', run_name='__main__')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"{sys.executable} has no torch: pip install -r requirements.txt\n"


def test_a_list_for_an_argument_that_is_a_tensor(make_config):
    modules = part_modules()["loss"]
    args = {"pos_weight": [1, 2.5]}
    config = make_config({"loss": {"type": "BCEWithLogitsLoss", "args": args}})
    config.check_parts({"loss": modules})
    assert torch.equal(config.init_callable("loss", modules).pos_weight, torch.tensor([1, 2.5]))
    weight = [1.0] * 10
    config = make_config({"loss": {"type": "cross_entropy", "args": {"weight": weight}}})
    output, target = torch.zeros(2, 10), torch.tensor([1, 2])
    expected = torch.nn.functional.cross_entropy(output, target)
    assert config.init_callable("loss", modules)(output, target) == expected
    config = make_config({"loss": {"type": "BCEWithLogitsLoss", "args": {"pos_weight": "x"}}})
    with pytest.raises(UserError, match="must be a list or null"):
        config.check_parts({"loss": modules})


class Focal(torch.nn.CrossEntropyLoss):
    """Hands its weight to its base."""

    def __init__(self, gamma=2.0, **kwargs):
        super().__init__(**kwargs)


class Named(torch.nn.CrossEntropyLoss):
    """Names the weight that it hands to its base."""

    def __init__(self, weight=None, gamma=2.0):
        super().__init__(weight)


class Own(torch.nn.CrossEntropyLoss):
    """Makes the tensor by itself."""

    def __init__(self, weight: list[float]):
        assert type(weight) is list
        super().__init__(torch.tensor(weight))


@pytest.mark.parametrize("loss", [Focal, Named, Own])
def test_a_list_for_a_tensor_that_a_base_takes(make_config, loss):
    modules = [SimpleNamespace(**{loss.__name__: loss}, __name__="losses")]
    config = make_config({"loss": {"type": loss.__name__, "args": {"weight": [1, 2, 3]}}})
    config.check_parts({"loss": modules})
    ready = config.init_callable("loss", modules)
    assert torch.equal(ready.weight.float(), torch.tensor([1.0, 2, 3]))


def test_the_end_of_a_name_behind_val_is_known():
    assert nearest("val_acc", ["val_loss", "val_top_k_acc", "val_accuracy"]).endswith(
        "'val_accuracy'?"
    )


@pytest.mark.parametrize("name", ["model", "model_state", "net", "weights"])
def test_weights_under_the_names_of_other_code(name):
    weights = {"fc.weight": torch.zeros(2)}
    state = complete({name: weights, "epoch": 3}, Path("a.pth"))
    assert (state["state_dict"], state["epoch"]) == (weights, 3)


def test_texts_of_a_batch_are_described_once():
    assert describe([torch.zeros(3), ["a", "b", "c"]]) == "float32 (3,), 3 str"
    assert describe((torch.zeros(2), torch.zeros(2))) == "float32 (2,), float32 (2,)"


def test_data_that_are_not_there_are_one_line(tmp_path):
    changes = [f"data_loader.args.data_dir={tmp_path}", f"trainer.save_dir={tmp_path / 'saved'}"]
    done = python("train.py", *changes, cwd=PROJECT_DIR)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "data_loader: [Errno 2] No such file" in done.stderr
    assert str(tmp_path / "mnist_5k.npz") in done.stderr


def test_with_several_processes_a_metric_without_merge_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr("utils.distributed.world_size", lambda: 2)

    class Alone:
        def compute(self):
            return 0.0

    with pytest.raises(UserError, match="Alone needs a method merge, which takes in what another"):
        refuse_without_merge([Alone()])


def test_no_device_may_be_empty_text(make_config):
    parser = argparse.ArgumentParser()
    parser.add_argument("-d", "--device", default="")
    config = ConfigParser.from_args(parser, (), ["-c", str(digits_example.CONFIG)])
    assert config["device"] == "auto"


def plain_loader(batch_size=16):
    """A DataLoader of torch itself, which splits nothing off."""
    data = digits_example.DigitsDataLoader(batch_size=batch_size).dataset
    return torch.utils.data.DataLoader(data, batch_size)


def test_a_loader_of_torch_alone_trains_without_validation(make_config, monkeypatch):
    monkeypatch.setattr("data_loader.data_loaders.plain_loader", plain_loader, raising=False)
    changes = {"data_loader.type": "plain_loader", "data_loader.args": {}}
    trainer = build_trainer(make_config(changes | {"trainer.monitor": "off"}))
    assert trainer.valid_data_loader is None and "loss" in trainer.train()


class OwnTensor(torch.Tensor):
    pass


class KeepsTensor:
    def __init__(self):
        self.sum = torch.zeros(2).as_subclass(OwnTensor)

    def compute(self):
        return 0.0


def test_a_metric_that_cannot_be_copied():
    with pytest.raises(UserError, match=r"^metrics: KeepsTensor cannot be copied: The default"):
        MetricTracker(metrics=[KeepsTensor()])
