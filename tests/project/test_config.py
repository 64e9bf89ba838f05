import argparse
import copy
import json
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from base import BaseDataLoader, BaseModel
from digits_example import CONFIG
from model import loss, metric, model
from parse_config import ConfigParser, Option
from tools.arguments import arguments_of, check_arguments
from train import part_modules
from utils import UserError, extras
from utils.files import read_config

pytestmark = pytest.mark.usefixtures("example_parts")


@pytest.fixture
def config_file(tmp_path):
    """Write a config, that of the example with some changes, and return its path."""

    def write(changes=None, text=None, name="config.json"):
        config = changed({"trainer.save_dir": str(tmp_path / "saved")} | (changes or {}))
        path = tmp_path / name
        path.write_text(json.dumps(config) if text is None else text)
        return path

    return write


class DELETE:
    """In place of a value: the key is not there."""


def changed(changes):
    """The example's config with some changes."""
    config = copy.deepcopy(read_config(CONFIG))
    for path, value in changes.items():
        *blocks, last = path.split(".")
        block = config
        for key in blocks:
            block = block[key]
        if value is DELETE:
            del block[last]
        else:
            block[last] = value
    return config


def parse(*argv, options=()):
    config = ConfigParser.from_args(argparse.ArgumentParser(), options, [str(a) for a in argv])
    config.check_parts(part_modules())
    return config


BAD_VALUES = [
    (
        {"zzz": 5},
        "zzz: unknown key; valid: arch, data_loader, optimizer, loss, init_from, freeze, metrics, "
        "lr_scheduler, task, name, seed, deterministic, device, n_gpu, parallel, trainer",
    ),
    ({"epochz": 5}, "epochz: unknown key; did you mean 'trainer.epochs'?"),
    ({"trainer.epochz": 5}, "trainer.epochz: unknown key; did you mean 'epochs'?"),
    ({"arch.arg": {}}, "arch.arg: unknown key; did you mean 'args'?"),
    ({"Seed": 5}, "Seed: unknown key; did you mean 'seed'?"),
    ({"model": {}}, "model: unknown key; did you mean 'arch'?"),
    ({"epochs": 5}, "epochs: unknown key; did you mean 'trainer.epochs'?"),
    ({"max_epochs": 5}, "max_epochs: unknown key; did you mean 'trainer.epochs'?"),
    ({"learning_rate": 1}, "learning_rate: unknown key; did you mean 'optimizer.args.lr'?"),
    ({"bs": 1}, "bs: unknown key; did you mean 'data_loader.args.batch_size'?"),
    ({"optimizer.args.learning_rate": 1}, "learning_rate: unknown key; did you mean 'lr'?"),
    ({"arch": DELETE}, "arch: is missing"),
    ({"arch.type": DELETE}, "arch.type: is missing"),
    ({"arch": 5}, "arch = 5: must be a block or a name"),
    ({"trainer": []}, "trainer = []: must be a block"),
    ({"trainer.epochs": "5"}, 'trainer.epochs = "5": must be a whole number, 1 or more'),
    ({"trainer.epochs": -1}, "trainer.epochs = -1: must be a whole number, 1 or more"),
    ({"trainer.epochs": 1.5}, "trainer.epochs = 1.5: must be a whole number, 1 or more"),
    ({"trainer.epochs": True}, "trainer.epochs = true: must be a whole number, 1 or more"),
    ({"trainer.early_stop": -1}, "early_stop = -1: must be a whole number, 0 or more or null"),
    ({"trainer.tensorboard": "yes"}, 'trainer.tensorboard = "yes": must be true or false'),
    ({"trainer.verbosity": 3}, "trainer.verbosity = 3: must be 0 or 1 or 2"),
    ({"trainer.monitor": "val_loss"}, 'must be a string, "min NAME", "max NAME" or "off"'),
    ({"trainer.save_dir": None}, "trainer.save_dir = null: must be a string"),
    ({"name": "a/b"}, 'name = "a/b": must be a string, a name for a folder'),
    ({"name": ".."}, 'name = "..": must be a string, a name for a folder'),
    ({"seed": -1}, "seed = -1: must be a whole number, 0 or more"),
    ({"metrics": "accuracy"}, 'metrics = "accuracy": must be a list'),
    ({"metrics": [3]}, "metrics.0 = 3: must be a block or a name"),
    (
        {"metrics": ["acuracy"]},
        "metrics.0.type: there is no 'acuracy' in model.metric or tools.metrics; did you",
    ),
    (
        {"metrics": ["acc"]},
        "there is no 'acc' in model.metric or tools.metrics; did you mean 'accuracy'?",
    ),
    ({"arch.type": "DIGITSModel"}, "arch.type: there is no 'DIGITSModel' in model.model; did you"),
    ({"arch.type": "BaseModel"}, "arch.type: 'BaseModel' is incomplete"),
    ({"arch.type": "no_such.Net"}, "arch.type: cannot import 'no_such'"),
    ({"arch.type": "torch.nn.Liner"}, "no 'Liner' in torch.nn; did you mean 'Linear'?"),
    ({"loss": "cross_entrpy"}, "did you mean 'cross_entropy'?"),
    (
        {"loss": {"type": "NLLLoss", "args": {"wait": 1}}},
        "loss.args.wait: unknown key; did you mean",
    ),
    ({"optimizer.type": "adam"}, "optimizer.type: there is no 'adam' in torch.optim; did you mean"),
    ({"optimizer.args.weight_deca": 1}, "unknown key; did you mean 'weight_decay'?"),
    ({"optimizer.args.lr": "0.1"}, 'optimizer.args.lr = "0.1": must be a number'),
    ({"optimizer.args.betas": 0.9}, "optimizer.args.betas = 0.9: must be a list"),
    ({"lr_scheduler": "StepLR"}, "lr_scheduler.args.step_size: is missing"),
    ({"lr_scheduler.interval": "batch"}, 'interval = "batch": must be "epoch" or "step"'),
    ({"data_loader.args.batch_size": 0}, "batch_size = 0: must be a whole number, 1 or more"),
    ({"data_loader.args.shuffle": "no"}, 'shuffle = "no": must be true or false'),
    ({"data_loader.args.num_workers": -1}, "num_workers = -1: must be a whole number, 0 or more"),
    ({"data_loader.args.validation_split": 1.5}, "validation_split = 1.5: must be "),
    ({"data_loader.args.layout": "rows"}, 'layout = "rows": must be "image" or "row"'),
    ({"data_loader.args.bs": 3}, "data_loader.args.bs: unknown key; did you mean 'batch_size'?"),
    ({"arch": "."}, "there is no '' in model.model; valid: "),
    ({"arch.args.dropout": "0.5"}, 'arch.args.dropout = "0.5": must be a number'),
]


# Each key alone would be right
BAD_TOGETHER = [
    ({"metrics": ["accuracy", {"type": "accuracy"}]}, "metrics.1: the name 'accuracy' is taken"),
    ({"metrics": [{"type": "accuracy", "name": "loss"}]}, "the name 'loss' is taken"),
    ({"lr_scheduler": {"a": {"type": "StepLR", "args": {"step_size": 1}}}}, "one alone"),
]


@pytest.mark.parametrize(
    ("changes", "expected"), BAD_VALUES + BAD_TOGETHER, ids=lambda v: str(v)[:40]
)
def test_a_bad_value_is_one_line_with_file_key_and_what_is_valid(config_file, changes, expected):
    path = config_file(changes)
    with pytest.raises(UserError) as caught:
        parse("-c", path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and expected in line and "\n" not in line
    assert [one.name for one in path.parent.iterdir()] == ["config.json"]


BAD_FILES = [
    ("a.json", "", "cannot be read: Expecting value: line 1 column 1"),
    ("a.json", '{"name": "a",', "cannot be read: .*line 1 column 14"),
    ("a.json", "[1]", "must hold a mapping of keys to values"),
    ("a.json", '{"seed": 1, "seed": 2}', "key 'seed' is given twice"),
    ("a.yaml", "name: [", "not valid YAML at line 1"),
    ("a.yaml", "", "must hold a mapping of keys to values"),
    ("a.yaml", "seed: 1\nseed: 2", "key 'seed' is given twice"),
    ("a.yaml", "? [1]\n: 2", "must be a string"),
    ("a.yaml", "name: \x01", "not valid YAML: special characters are not allowed"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BAD_FILES)
def test_a_bad_file_is_one_line(config_file, name, text, expected):
    path = config_file(text=text, name=name)
    with pytest.raises(UserError, match=expected) as caught:
        parse("-c", path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_all_mistakes_are_listed_at_once(config_file):
    changes = {"epochz": 1, "trainer.epochs": 0, "optimizer": {"args": {}}}
    with pytest.raises(UserError) as caught:
        parse("-c", config_file(changes))
    assert len(str(caught.value).splitlines()) == 3


def test_mistakes_in_names_are_listed_at_once_too(config_file):
    changes = {"optimizer.args.learning_rate": 1, "arch.type": "Digitsmodel", "metrics": ["a", "a"]}
    path = config_file(changes)
    with pytest.raises(UserError) as caught:
        parse("-c", path)
    lines = [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]
    keys = "arch.type metrics.0.type metrics.1.type metrics.1 optimizer.args.learning_rate"
    assert [line.partition(":")[0] for line in lines] == keys.split()


def test_without_its_extra_arguments_are_not_checked_but_names_are(make_config, monkeypatch):
    texts = {name: text for name, text in extras.texts().items() if name != "arguments"}
    monkeypatch.setattr(extras, "texts", lambda: texts)
    config = make_config({"optimizer.args.learning_rate": 1, "arch.type": "Digitsmodel"})
    with pytest.raises(UserError, match=r"^command line: arch\.type: there is no [^\n]*$"):
        config.check_parts(part_modules())


def test_an_option_can_be_a_flag(config_file):
    option = Option(["--tb", "--tensorboard"], bool, "trainer.tensorboard")
    for argv, expected in ((["--no-tb"], False), (["--tensorboard"], True)):
        config = parse("-c", config_file(), *argv, options=[option])
        assert config["trainer"]["tensorboard"] is expected


def test_a_file_wins_over_defaults_and_the_command_line_over_both(config_file):
    lr = Option(["--lr", "--learning-rate"], float, ("optimizer", "args", "lr"))
    path = config_file({"seed": 3, "trainer.early_stop": DELETE, "optimizer.args.lr": 0.5})
    config = parse("-c", path, "--lr", "1e-3", "trainer.epochs=7", "trainer.keep_last=None",
                   'metrics=["accuracy"]', "loss=nll_loss", options=[lr])  # fmt: skip
    assert config["seed"] == 3 and config["trainer"]["early_stop"] is None
    assert config["optimizer"]["args"]["lr"] == 0.001 == config.settings.optimizer.args["lr"]
    assert config.settings.trainer.epochs == 7 and config["trainer"]["keep_last"] is None
    assert config["metrics"] == ["accuracy"] and config["loss"] == "nll_loss"


def test_options_of_older_scripts_are_understood(config_file):
    CustomArgs = namedtuple("CustomArgs", "flags type target")
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", "--config", default=None, type=str)
    options = [CustomArgs(["--bs", "--batch_size"], int, "data_loader;args;batch_size")]
    argv = ["-c", str(config_file()), "--batch_size", "7"]
    config = ConfigParser.from_args(parser, options, argv)
    assert config["data_loader"]["args"]["batch_size"] == 7


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.epochs", "'trainer.epochs' is not KEY=VALUE"),
        ("=3", "'=3' is not KEY=VALUE"),
        ("trainer..epochs=3", "is not KEY=VALUE"),
        ("trainer.epochz=3", "trainer.epochz: unknown key; did you mean 'epochs'?"),
        ("seed.x=3", "seed.x: seed is not a block"),
        ("seed=x", 'seed = "x": must be a whole number'),
    ],
)
def test_a_bad_override_names_the_command_line(config_file, override, expected):
    with pytest.raises(UserError) as caught:
        parse("-c", config_file(), override)
    assert str(caught.value).startswith("command line: ") and expected in str(caught.value)


def test_yaml_and_json_say_the_same(config_file):
    text = """
        arch: DigitsModel
        data_loader: {type: DigitsDataLoader}
        optimizer: {type: SGD, args: {lr: 1e-4, momentum: .9, nesterov: true}}
        loss: nll_loss
        name: no
        trainer: {monitor: off, early_stop: null, epochs: 12}
    """
    config = parse("-c", config_file(text=text, name="config.yaml"))
    assert config["optimizer"]["args"] == {"lr": 0.0001, "momentum": 0.9, "nesterov": True}
    assert config["name"] == "no" and config["trainer"]["monitor"] == "off"
    same = parse("-c", config_file(text=json.dumps(config.config)))
    assert same.config == config.config and same.settings == config.settings


def test_parts_are_built_by_name_with_arguments(make_config):
    config = make_config({
        "loss": {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1}},
        "metrics": [{"type": "top_k_acc", "args": {"k": 2}, "name": "top2"}, "accuracy"],
        "arch": {"type": "torch.nn.Linear", "args": {"in_features": 3}},
    })  # fmt: skip
    assert config.init_callable("loss", [loss, torch.nn]).label_smoothing == 0.1
    top2 = config.init_callable(("metrics", 0), metric)
    assert top2.__name__ == "top2"
    assert top2(torch.tensor([[3.0, 2, 1]]), torch.tensor([1])) == 1
    assert config.init_callable(("metrics", 1), metric).__name__ == "accuracy"
    assert config.init_obj("arch", model, out_features=5).out_features == 5
    assert config.initialize("arch", model, out_features=5, in_features=4).in_features == 4
    with pytest.raises(UserError, match="arch: .* missing .* argument: 'out_features'"):
        config.init_obj("arch", model)


def mistakes_in(function, args):
    return check_arguments(function, args, ())


def test_hints_are_judged_as_far_as_they_can_be():
    def function(
        size: int | Sequence[int] = 1,
        folder: Path | None = None,
        rate: float | torch.Tensor = 0.1,
        names: list | None = None,
        width=1,
        classes=10,
    ):
        pass

    def mistakes(**args):
        return [one.text for one in mistakes_in(function, args)]

    assert not mistakes(size=[1, 2], folder="data", rate=1, names=["a"], width=2.5)
    assert mistakes(rate="x") == [' = "x": must be a number or a list']
    assert mistakes(width="two") == [' = "two": must be a number or a list or a block or null']
    assert not mistakes(classes=5.0)
    assert mistakes(names="a") == [' = "a": must be a list or null']


def test_what_a_class_hands_on_is_checked_against_its_base_class():
    class Loader(torch.utils.data.DataLoader):
        def __init__(self, folder="data", **options):
            super().__init__([], **options)

    class Free:
        def __init__(self, **anything):
            pass

    assert not mistakes_in(Loader, {"num_workers": 2, "pin_memory": True})
    [typo, wrong] = mistakes_in(Loader, {"num_wokers": 2, "pin_memory": 1})
    assert typo.text == ": unknown key; did you mean 'num_workers'?"
    assert wrong.text == " = 1: must be true or false"
    assert not mistakes_in(Free, {"whatever": 1})


def test_a_value_that_torch_refuses_is_one_line(make_config, monkeypatch):
    config = make_config({"optimizer.args.lr": -1.0})
    with pytest.raises(UserError, match="optimizer: Invalid learning rate: -1.0"):
        config.init_obj("optimizer", torch.optim, [torch.nn.Parameter(torch.ones(1))])


def test_a_function_waits_for_its_other_arguments(make_config):
    make = make_config().init_ftn("optimizer", torch.optim)
    assert make([torch.nn.Parameter(torch.ones(1))]).defaults["lr"] == 0.002


def test_two_runs_of_the_same_second_get_two_directories(make_config):
    assert make_config().save_dir != make_config().save_dir
    assert make_config(run_id="mine").save_dir.name == "mine"
    with pytest.raises(UserError, match="trainer.save_dir"):
        make_config(run_id="mine").save_dir  # noqa: B018


def test_devices_in_the_way_of_older_projects(config_file, make_config):
    assert parse("-c", config_file(), "-d", "1").settings.device == "cuda:1"
    assert make_config({"n_gpu": 0, "device": "auto"}).settings.device == "cpu"


def test_a_device_that_is_not_there_is_named(make_trainer):
    with pytest.raises(UserError, match="device 'cuda:99' is not there; this machine has: .*cpu"):
        make_trainer({"device": "cuda:99"})


def test_a_model_without_forward_is_named_as_such(make_config, monkeypatch):
    class Typo(BaseModel):
        def foward(self, x):
            return x

    Typo.__module__ = model.__name__
    monkeypatch.setattr(model, "Typo", Typo, raising=False)
    with pytest.raises(UserError, match="'Typo' is incomplete: it has no forward"):
        make_config({"arch": "Typo"}).check_parts(part_modules())


def test_a_class_gets_the_hints_of_its_base_where_it_has_no_narrower_ones():
    class Old(BaseDataLoader):
        def __init__(self, batch_size, shuffle: bool = True, num_workers: int = 1):
            pass

    args = {"batch_size": 0, "num_workers": -1, "shuffle": 1}
    texts = [one.text for one in mistakes_in(Old, args)]
    assert texts == [
        " = 0: must be a whole number, 1 or more",
        " = -1: must be a whole number, 0 or more",
        " = 1: must be true or false",
    ]


def test_names_that_a_module_has_only_imported_are_not_offered(make_config):
    with pytest.raises(UserError) as caught:
        make_config({"lr_scheduler.type": "zzz"}).check_parts(part_modules())
    assert "StepLR" in str(caught.value) and "Tensor" not in str(caught.value)


class OfData:
    def __init__(self, batch_size, shuffle=False):
        pass


class HandsOn(OfData):
    def __init__(self, path, **kwargs):
        super().__init__(1, **kwargs)


class HandsToData(OfData):
    def __init__(self, path, **kwargs):
        self.data = dict(**kwargs)
        super().__init__(batch_size=1)


class PutBefore:
    def __init__(self, *args, split=0.5, **kwargs):
        super().__init__(*args, **kwargs)


class Mixed(PutBefore, HandsOn):
    pass


def test_further_arguments_are_those_of_the_base_where_it_receives_them():
    assert arguments_of(Mixed)[0].keys() == {"split", "path", "batch_size", "shuffle"}
    assert not arguments_of(Mixed)[1]
    assert arguments_of(HandsOn)[0].keys() == {"path", "batch_size", "shuffle"}
    assert not arguments_of(HandsOn)[1]
    known, takes_any = arguments_of(HandsToData)
    assert known.keys() == {"path"} and takes_any
