"""A new run from the weights of other code, some of which are trained later or never."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from digits_example import CONFIG, DigitsModel
from helpers import ENVIRONMENT, TORCHRUN, python
from model import model
from model.model import BaseModel
from train import build_trainer
from utils.errors import RunError, UserError
from utils.files import PROJECT_DIR

PREFIXES = "init_from.prefixes"


class Transfer(BaseModel):
    """(B, 1, 8, 8) images -> (B, num_classes) logits, by a body with batch norm."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(8 * 4 * 4, num_classes)

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture
def config_of(monkeypatch, make_config):
    monkeypatch.setattr(model, "Transfer", Transfer, raising=False)
    optimizer = {"type": "AdamW", "args": {"lr": 0.01}, "groups": {"body.*": {"lr": 0.001}}}
    base = {"arch": "Transfer", "optimizer": optimizer, "trainer.epochs": 4}
    return lambda changes=None, **kwargs: make_config(base | (changes or {}), **kwargs)


@pytest.fixture
def saved(tmp_path):
    """Writes weights as other code does, with names of its own."""

    def save(rename, key="model"):
        weights = {rename(name): w for name, w in Transfer(7).state_dict().items()}
        torch.save({key: weights, "epoch": 3}, tmp_path / "other.pth")
        return {"init_from.checkpoint": str(tmp_path / "other.pth")}, weights

    return save


def test_names_of_other_code_are_translated(config_of, saved, capsys):
    init, weights = saved(lambda name: f"module.{name.replace('body', 'encoder._orig_mod')}")
    changes = init | {PREFIXES: {"encoder.": "body.", "head.": None}, "init_from.strict": False}
    trainer = build_trainer(config_of(changes))
    own = trainer.model.state_dict()
    for name, weight in weights.items():
        if "encoder" in name:
            assert torch.equal(own[name.replace("module.encoder._orig_mod", "body")], weight)
    assert "7 of 9 weights taken; not taken: head.weight, head.bias" in capsys.readouterr().out
    trainer.train()


def test_a_body_alone_is_put_into_its_part(config_of, saved):
    init, weights = saved(lambda name: name.removeprefix("body."), key="state_dict")
    strict = {PREFIXES: {"": "body.", "head.": "head."}, "arch": "Transfer"}
    strict["arch"] = {"type": "Transfer", "args": {"num_classes": 7}}
    trainer = build_trainer(config_of(init | strict))
    own = trainer.model.state_dict()
    assert torch.equal(own["body.0.weight"], weights["0.weight"])
    assert torch.equal(own["head.weight"], weights["head.weight"])


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        ({"backbne.": ""}, r"other.pth has no 'backbne.', but body., head.$"),
        ({"body.0.": "x.", "body.1.": "x."}, "two weights of .*other.pth are called 'x.weight'"),
        ({"head.": 3}, "init_from.prefixes.head. = 3: must be a string or null"),
    ],
)
def test_prefixes_that_are_wrong_are_one_line(config_of, saved, prefixes, said):
    init, _ = saved(lambda name: name)
    with pytest.raises(UserError, match=said):
        build_trainer(config_of(init | {PREFIXES: prefixes}))


def body_of(trainer):
    inner = getattr(trainer.model, "module", trainer.model)
    return {name: one.clone() for name, one in inner.body.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


class Watch:
    """Notes after each epoch what of the body has changed in it."""

    def __init__(self, trainer):
        self.trainer, self.seen, self.found = trainer, body_of(trainer), []
        trainer.callbacks.append(self)

    def __getattr__(self, name):
        return lambda *args: None

    def on_epoch_end(self, trainer, log):
        now = body_of(trainer)
        self.found.append(changed(self.seen, now))
        self.seen = now


def test_a_part_is_trained_from_its_epoch_on_at_its_rate(config_of, capsys):
    trainer = build_trainer(config_of({"freeze": {"body.*": 3}}))
    watch = Watch(trainer)
    log = trainer.train()
    weights = {"0.weight", "0.bias", "1.weight", "1.bias"}
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert watch.found == [set(), set(), weights | statistics, weights | statistics]
    assert 0 < log["lr_body.*"] < log["lr"] / 5
    out = capsys.readouterr().out
    assert "freeze: from epoch 1 on, 2 of 6 parameters are trained" in out
    assert "freeze: from epoch 3 on, 6 of 6 parameters are trained" in out


def test_a_part_is_never_trained(config_of):
    """The optimizer does not have it; of two patterns that fit, the later counts."""
    changes = {"optimizer.groups": {}, "freeze": {"body.*": 2, "body.0.*": None}}
    trainer = build_trainer(config_of(changes))
    watch = Watch(trainer)
    trainer.train()
    assert watch.found[0] == set() and watch.found[1] >= {"1.weight", "1.running_mean"}
    assert not any("0.weight" in found for found in watch.found)
    assert sum(len(group["params"]) for group in trainer.optimizer.param_groups) == 4


@pytest.mark.parametrize("step", [2, 8, 10, 13])  # epochs have 4; the body is trained from 9 on
def test_a_resumed_run_is_as_far_as_its_epoch_says(config_of, step):
    changes = {"freeze": {"body.*": 3}, "trainer.ema": 0.9, "trainer.clip_grad_norm": 1.0}
    straight = build_trainer(config_of(changes))
    straight.train()
    stopped = build_trainer(config_of(changes))
    save_or_stop, stopped.asks_each_step = stopped._save_or_stop_if_due, True

    def stop():
        if stopped.step == step:
            os.kill(os.getpid(), 15)
        save_or_stop()

    stopped._save_or_stop_if_due = stop
    with pytest.raises(RunError):
        stopped.train()
    resumed = build_trainer(config_of(changes, resume=stopped.checkpoint_dir / "last.pth"))
    resumed.train()
    for one, other in (
        (straight.model, resumed.model),
        (straight.state["ema"], resumed.state["ema"]),
    ):
        other = other.state_dict()
        assert all(torch.equal(w, other[name]) for name, w in one.state_dict().items())


def test_a_pattern_that_fits_nothing_is_one_line(config_of):
    with pytest.raises(
        UserError, match=r"^freeze: no parameter fits 'boddy.\*'; parts: body.\*, h"
    ):
        build_trainer(config_of({"freeze": {"boddy.*": 3}}))
    with pytest.raises(UserError, match=r"freeze.body.\* = 0: must be a whole number, 1 or more"):
        config_of({"freeze": {"body.*": 0}})


WORKER = f"""
import sys, torch
torch.set_num_threads(1)
import digits_example
digits_example.install()
from model import model
from test_transfer import Transfer
model.Transfer = Transfer
from parse_config import ConfigParser
from train import build_trainer
from utils import distributed
with distributed.process_group():
    changes = {{"trainer.epochs": 3, "trainer.save_dir": sys.argv[1], "device": "cpu",
        "arch": "DigitsModel", "arch.args": {{"dropout": 0.0}}, "trainer.report": False,
        "data_loader.args.batch_size": 64 // distributed.world_size(), "trainer.len_epoch": 6,
        "freeze": {{"conv*": 2}}, "trainer.tensorboard": False, "optimizer.args.fused": False,
        "optimizer.type": "SGD", "optimizer.args": {{"lr": 0.1}}}}
    trainer = build_trainer(ConfigParser.from_file({str(CONFIG)!r}, changes))
    trainer.train()
    weights = distributed.unwrap(trainer.model).state_dict()
    flat = torch.cat([one.flatten() for one in weights.values()])
    assert all(torch.equal(flat, other) for other in distributed.all_gather(flat))
    if distributed.is_main():
        torch.save(weights, sys.argv[1] + ".pth")
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Before and after the epoch from which a part is trained."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    path = os.pathsep.join([str(PROJECT_DIR), str(Path(__file__).parent)])
    environment = ENVIRONMENT | {"PYTHONPATH": path}
    for name, start in (("one", []), ("two", TORCHRUN)):
        done = python(*start, script, tmp_path / name, env=environment)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{name}.pth") for name in ("one", "two"))
    torch.manual_seed(0)
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=1e-4, atol=1e-5)
    assert not torch.equal(one["conv1.weight"], DigitsModel().conv1.weight)
