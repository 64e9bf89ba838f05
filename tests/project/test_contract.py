"""The names that code from older projects relies on: at least one test for each.

They are never renamed, so that such code goes on running; what is behind them may change.
"""

import argparse
import inspect
from collections import namedtuple
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.utils.data import SubsetRandomSampler, TensorDataset
from torch.utils.data.dataloader import default_collate

from base import BaseDataLoader, BaseModel, BaseTrainer
from logger import TensorboardWriter
from parse_config import ConfigParser
from settings import Settings
from trainer.trainer import Trainer
from utils import (
    MetricTracker,
    UserError,
    ensure_dir,
    inf_loop,
    prepare_device,
    read_json,
    resume,
    write_json,
)

OldOption = namedtuple("CustomArgs", "flags type target")


def config_of(tmp_path, **trainer):
    settings = {"epochs": 2, "save_dir": str(tmp_path), "tensorboard": False} | trainer
    return {
        "name": "Old",
        "n_gpu": 0,
        "arch": {"type": "Linear", "args": {"in_features": 2, "out_features": 1}},
        "data_loader": {"type": "TensorDataset", "args": {}},
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "loss": "mse_loss",
        "metrics": [],
        "trainer": settings,
    }


@pytest.fixture
def config(tmp_path):
    return ConfigParser(config_of(tmp_path))


def dataset(n=12):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.sum(1, keepdim=True))


class OldTrainer(BaseTrainer):
    """As people wrote it: no device, a loop of its own, checkpoints of its own."""

    def __init__(self, model, criterion, metric_ftns, optimizer, config, data_loader):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        self.data_loader = data_loader
        self.saved, self.extra = [], 0

    def _train_epoch(self, epoch):
        total = 0
        for x, target in self.data_loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x.to(self.device)), target.to(self.device))
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return {"loss": total, "val_loss": total}

    def _save_checkpoint(self, epoch, save_best=False):
        self.saved.append((epoch, save_best))
        super()._save_checkpoint(epoch, save_best)

    def _resume_checkpoint(self, path):
        super()._resume_checkpoint(path)
        self.extra = torch.load(path, weights_only=True)["epoch"]


def old_trainer(config):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = BaseDataLoader(dataset(), 4, True, 0.0, 0)
    return OldTrainer(model, nn.functional.mse_loss, [], optimizer, config, loader)


# 1. Modules

FLAT = """base logger utils trainer model.model model.loss model.metric data_loader.data_loaders
parse_config""".split()


@pytest.mark.parametrize("name", FLAT)
def test_1_modules_are_imported_by_flat_names(name):
    assert import_module(name).__name__ == name


# 2. BaseTrainer


def test_2_arguments_of_base_trainer():
    names = list(inspect.signature(BaseTrainer).parameters)
    assert names[:5] == ["model", "criterion", "metric_ftns", "optimizer", "config"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", torch.device("cpu")),
        ("epochs", 2),
        ("save_period", 1),
        ("monitor", "min val_loss"),
        ("mnt_mode", "min"),
        ("mnt_metric", "val_loss"),
        ("mnt_best", float("inf")),
        ("early_stop", 7),
        ("start_epoch", 1),
        ("metric_ftns", []),
    ],
)
def test_2_attributes_of_base_trainer(tmp_path, name, value):
    trainer = old_trainer(ConfigParser(config_of(tmp_path, early_stop=7)))
    assert getattr(trainer, name) == value


def test_2_base_trainer_has_a_folder_a_writer_and_a_logger(config):
    trainer = old_trainer(config)
    assert trainer.checkpoint_dir == config.save_dir and trainer.checkpoint_dir.is_dir()
    assert callable(trainer.writer.set_step) and trainer.logger.name == "trainer"
    assert trainer.config is config and callable(trainer.criterion)


def test_2_monitor_off_needs_no_values(tmp_path):
    trainer = old_trainer(ConfigParser(config_of(tmp_path, monitor="off")))
    assert trainer.mnt_mode == "off" and trainer.train()["epoch"] == 2


def test_2_an_epoch_of_ones_own_is_called_and_its_checkpoints_go_through_overrides(config):
    trainer = old_trainer(config)
    log = trainer.train()
    assert log["epoch"] == 2 and log["loss"] == log["val_loss"]
    assert [epoch for epoch, _ in trainer.saved] == [1, 2] and trainer.saved[0][1] is True


def test_2_resume_goes_through_the_override(tmp_path, config):
    trainer = old_trainer(config)
    trainer.train()
    straight = old_trainer(ConfigParser(config_of(tmp_path / "other", epochs=3)))
    straight.train()

    path = trainer.checkpoint_dir / "checkpoint-epoch2.pth"
    resumed = old_trainer(ConfigParser(config_of(tmp_path, epochs=3), resume=path))
    assert resumed.train()["epoch"] == 3
    assert resumed.extra == 2 and resumed.start_epoch == 4
    assert torch.equal(resumed.model.weight, straight.model.weight)


def test_2_a_trainer_that_saves_and_resumes_all_by_itself(tmp_path, config):
    class Own(OldTrainer):
        def _save_checkpoint(self, epoch, save_best=False):
            state = {"epoch": epoch, "weights": self.model.state_dict()}
            torch.save(state, str(self.checkpoint_dir / f"checkpoint-epoch{epoch}.pth"))

        def _resume_checkpoint(self, path):
            state = torch.load(path, weights_only=True)
            self.start_epoch = state["epoch"] + 1
            self.model.load_state_dict(state["weights"])

    def own(config):
        trainer = old_trainer(config)
        trainer.__class__ = Own
        return trainer

    first = own(config)
    first.train()
    path = first.checkpoint_dir / "checkpoint-epoch2.pth"
    second = own(ConfigParser(config_of(tmp_path, epochs=3), resume=path))
    assert second.train()["epoch"] == 3 and second.start_epoch == 4


# 3. Trainer


def test_3_arguments_of_trainer():
    names = """model criterion metric_ftns optimizer config device data_loader valid_data_loader
    lr_scheduler len_epoch""".split()
    assert list(inspect.signature(Trainer).parameters)[:10] == names


def test_3_a_subclass_may_leave_out_the_device(config):
    class Without(Trainer):
        def __init__(self, model, criterion, metric_ftns, optimizer, config, data_loader):
            super().__init__(
                model, criterion, metric_ftns, optimizer, config, data_loader=data_loader
            )

    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = BaseDataLoader(dataset(), 4, True, 0.25, 0)
    trainer = Without(model, nn.functional.mse_loss, [], optimizer, config, loader)
    assert trainer.device == torch.device("cpu") and trainer.data_loader is loader
    trainer.monitor = trainer.mnt_mode = "off"
    assert trainer.train()["epoch"] == 2


# 4. BaseDataLoader


def test_4_arguments_of_base_data_loader():
    parameters = list(inspect.signature(BaseDataLoader).parameters.values())
    names = "dataset batch_size shuffle validation_split num_workers collate_fn".split()
    assert [one.name for one in parameters[:6]] == names
    assert parameters[5].default is default_collate
    assert all(one.kind >= inspect.Parameter.KEYWORD_ONLY for one in parameters[6:])


def test_4_positional_arguments_and_keywords_for_more():
    loader = BaseDataLoader(dataset(12), 5, True, 0.25, 0, default_collate, drop_last=True)
    assert [len(x) for x, _ in loader] == [5] and loader.n_samples == 9
    assert len(loader.sampler) == 9 and len(loader.valid_sampler) == 3
    assert sum(len(x) for x, _ in loader.split_validation()) == 3
    assert BaseDataLoader(dataset(), 5, True, 0.0, 0).split_validation() is None


def test_4_attributes_of_the_loader_are_found_where_the_trainer_looks(config):
    class Loader(BaseDataLoader):
        def __init__(self):
            self.vocab = {"a": 0}
            self.dataset = dataset()  # before DataLoader sets its own
            super().__init__(self.dataset, 4, True, 0.0, 0)

    loader = Loader()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = Trainer(model, nn.MSELoss(), [], optimizer, config, "cpu", loader)
    assert trainer.data_loader is loader and trainer.data_loader.vocab == {"a": 0}


def test_4_samplers_of_ones_own():
    class Loader(BaseDataLoader):
        def _split_sampler(self, split):
            if split == 0:
                return None, None
            self.n_samples = 6
            return SubsetRandomSampler(range(0, 12, 2)), SubsetRandomSampler(range(1, 12, 2))

    loader = Loader(list(range(12)), 3, True, 0.5, 0)
    assert sorted(torch.cat(list(loader)).tolist()) == [0, 2, 4, 6, 8, 10]
    assert sorted(torch.cat(list(loader.split_validation())).tolist()) == [1, 3, 5, 7, 9, 11]
    shuffled = torch.cat(list(Loader(list(range(100)), 10, True, 0.0, 0))).tolist()
    assert sorted(shuffled) == list(range(100)) != shuffled
    assert torch.cat(list(Loader(list(range(9)), 3, False, 0.0, 0))).tolist() == list(range(9))


def test_4_data_sets_are_handed_plain_ints():
    class Picky:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            assert type(index) is int
            return index

    loader = BaseDataLoader(Picky(), 4, True, 2, 0)
    assert len([*loader, *loader.split_validation()]) == 3


# 5. ConfigParser


def test_5_arguments_of_config_parser():
    names = list(inspect.signature(ConfigParser).parameters)
    assert names[:4] == ["config", "resume", "modification", "run_id"]


@pytest.mark.parametrize("target", ["optimizer;args;lr", ("optimizer", "args", "lr")])
def test_5_from_args_with_options_of_both_eras(tmp_path, target):
    write_json(config_of(tmp_path), tmp_path / "config.json")
    parser = argparse.ArgumentParser()
    for flags in (["-c", "--config"], ["-r", "--resume"], ["-d", "--device"]):
        parser.add_argument(*flags, default=None, type=str)
    options = [OldOption(["--lr", "--learning_rate"], type=float, target=target)]
    argv = ["-c", str(tmp_path / "config.json"), "--lr", "0.5", "-d", "cpu"]
    config = ConfigParser.from_args(parser, options, argv)
    assert config["optimizer"]["args"]["lr"] == 0.5 and config.resume is None


def test_5_a_resumed_run_brings_its_config_and_goes_on_in_its_folder(config):
    old_trainer(config).train()
    path = config.save_dir / "checkpoint-epoch1.pth"
    resumed = ConfigParser.from_args(argparse.ArgumentParser(), argv=["-r", str(path)])
    assert resumed.resume == path and resumed.save_dir == config.save_dir
    assert resumed["arch"] == config["arch"] and resumed["name"] == "Old"


def test_5_a_block_of_ones_own_is_allowed_where_it_is_declared(tmp_path, monkeypatch):
    @dataclass
    class Own(Settings):
        decoding: dict = field(default_factory=dict)

    config = config_of(tmp_path) | {"decoding": {"beam": 3}}
    with pytest.raises(UserError, match="decoding: unknown key"):
        ConfigParser(config)
    monkeypatch.setattr("parse_config.Settings", Own)
    assert ConfigParser(config)["decoding"]["beam"] == 3


def test_5_from_args_takes_no_options_too(tmp_path):
    write_json(config_of(tmp_path), tmp_path / "config.json")
    argv = ["-c", str(tmp_path / "config.json")]
    assert ConfigParser.from_args(argparse.ArgumentParser(), argv=argv)["name"] == "Old"


@pytest.mark.parametrize("name", ["init_obj", "initialize"])
def test_5_objects_by_name_with_arguments_of_the_moment(config, name):
    layer = getattr(config, name)("arch", nn, bias=False)
    assert isinstance(layer, nn.Linear) and layer.bias is None
    optimizer = getattr(config, name)("optimizer", torch.optim, layer.parameters())
    assert optimizer.defaults["lr"] == 0.1


def test_5_init_ftn_waits(config):
    assert config.init_ftn("arch", nn, bias=False)(device="cpu").out_features == 1


def test_5_folders_logger_and_config(tmp_path, config):
    assert config.config["loss"] == config["loss"] == "mse_loss"
    assert config["n_gpu"] == 0 and config["trainer"].get("monitor", "off") == "min val_loss"
    assert config.get_logger("train", verbosity=1).level == 20
    assert config.get_logger("train").name == "train"
    named = ConfigParser(config_of(tmp_path), None, {"trainer;epochs": 5}, "fold1")
    assert named.save_dir.name == "fold1" and named.log_dir.is_dir()
    assert named["trainer"]["epochs"] == 5


@pytest.mark.parametrize("key", ["lr_scheduler", "monitor", "early_stop", "tensorboard"])
def test_5_what_may_be_left_out(tmp_path, key):
    config = config_of(tmp_path)
    config["trainer"].pop(key, None)
    assert key not in config
    config = ConfigParser(config)
    assert config.init_obj("lr_scheduler", torch.optim.lr_scheduler, None) is None
    assert old_trainer(config).train()["epoch"] == 2


# 6. MetricTracker


def test_6_metric_tracker_takes_numbers_tensors_pairs_and_new_keys():
    tracker = MetricTracker("loss", "accuracy", writer=None)
    tracker.update("loss", 2.0, n=3)
    tracker.update("loss", torch.tensor(4.0))
    tracker.update("accuracy", (0.5, 8))
    tracker.update("new", 1)
    assert tracker.avg("loss") == 2.5
    assert tracker.result() == {"loss": 2.5, "accuracy": 0.5, "new": 1}
    tracker.reset()
    assert tracker.result() == {} and tracker.avg("loss") == 0


def test_6_metric_tracker_writes_each_update():
    written = []
    writer = type("Writer", (), {"add_scalar": lambda self, *pair: written.append(pair)})()
    MetricTracker("loss", writer=writer).update("loss", 1.5)
    assert written == [("loss", 1.5)]


# 7. Writer

ADD = """add_scalar add_scalars add_image add_images add_figure add_audio add_text add_histogram
add_embedding add_pr_curve""".split()


@pytest.mark.parametrize("name", ADD)
def test_7_add_methods_take_anything_where_nothing_is_written(name, config):
    writer = TensorboardWriter("nowhere", config.get_logger("t"), False)
    writer.set_step(3)
    getattr(writer, name)("tag", [1, 2], [3, 4])
    assert writer.writer is None and writer.step == 3 and writer.mode == "train"


def test_7_modes_are_words_or_an_enum(tmp_path, config):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    class Mode(Enum):
        VAL = "Val"

    writer = TensorboardWriter(tmp_path, config.get_logger("t"), True)
    writer.set_step(1)
    writer.add_scalar("loss", 1)
    writer.set_step(2, "valid")
    writer.add_scalar("loss", 2)
    writer.set_step(3, Mode.VAL)
    writer.add_scalar("loss", 3)
    writer.add_histogram("weight", torch.ones(3), bins="auto")
    assert writer.writer.log_dir == str(tmp_path)
    writer.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss/train", "loss/valid", "loss/Val"]
    assert events.Tags()["histograms"] == ["weight"]


def test_7_what_tensorboard_cannot_show_ends_no_run(tmp_path, config, caplog):
    pytest.importorskip("tensorboard")
    writer = TensorboardWriter(tmp_path, config.get_logger("t"), True)
    writer.set_step(1)
    writer.add_image("input", torch.ones(128, 1, 30))
    assert "TensorBoard has no 'input/train'" in caplog.text
    writer.add_scalar("loss", 1)
    writer.close()


# 8. utils


def test_8_inf_loop_goes_on():
    loop = inf_loop([1, 2])
    assert [next(loop) for _ in range(5)] == [1, 2, 1, 2, 1]


def test_8_prepare_device():
    assert prepare_device(0) == (torch.device("cpu"), [])
    device, numbers = prepare_device(1)
    assert len(numbers) == min(1, torch.cuda.device_count()) and isinstance(device, torch.device)


def test_8_json_and_folders(tmp_path):
    ensure_dir(str(tmp_path / "a" / "b"))
    ensure_dir(tmp_path / "a" / "b")
    write_json({"z": 1, "a": [2]}, tmp_path / "a" / "b" / "x.json")
    assert list(read_json(str(tmp_path / "a" / "b" / "x.json"))) == ["z", "a"]


@pytest.mark.parametrize("name", ["BaseModel", "BaseTrainer"])
def test_8_what_is_abstract(name):
    with pytest.raises(TypeError, match="abstract"):
        getattr(import_module("base"), name)()
    assert issubclass(BaseModel, nn.Module)


# 9. Checkpoints


@pytest.mark.parametrize(
    "key", ["arch", "epoch", "state_dict", "optimizer", "monitor_best", "config"]
)
def test_9_keys_of_a_checkpoint(config, key):
    trainer = old_trainer(config)
    trainer.train()
    for name in ("checkpoint-epoch1.pth", "checkpoint-epoch2.pth", "model_best.pth"):
        state = torch.load(trainer.checkpoint_dir / name, weights_only=True)
        assert key in state and type(state["config"]) is dict


def test_9_the_dict_of_the_tutorial_loads(tmp_path):
    weights = nn.Linear(2, 1).state_dict()
    state = {"epoch": 3, "model_state_dict": weights, "optimizer_state_dict": {}, "loss": 0.1}
    torch.save(state, tmp_path / "tutorial.pth")
    loaded = resume.load(tmp_path / "tutorial.pth")
    assert loaded["epoch"] == 3 and torch.equal(loaded["state_dict"]["weight"], weights["weight"])
    assert loaded["optimizer"] == {} and loaded["monitor_best"] is None
