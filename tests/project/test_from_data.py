"""Numbers in the config that the data tell, and where the run keeps them."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import train
import trainer
from base import BaseDataLoader
from data_loader import data_loaders
from digits_example import CONFIG, DIGITS, DigitsDataLoader
from model import model
from model.model import BaseModel
from parse_config import ConfigParser
from runs import Run
from test import build_trained, load_model
from tools.arguments import Arguments
from tools.groups import groups_of
from train import build_trainer
from utils.errors import UserError
from utils.files import read_json
from utils.optim import learning_rates

WARM_UP = {
    "type": "SequentialLR",
    "args": {
        "schedulers": [
            {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": "25%"}},
            {"type": "CosineAnnealingLR", "args": {"T_max": "auto"}},
        ],
        "milestones": ["25%"],
    },
    "interval": "step",
}


def kept(trainer):
    """The config that a run has in its directory."""
    return read_json(trainer.checkpoint_dir / "config.json")


@pytest.mark.parametrize(
    ("changes", "n_steps"),
    [
        ({}, 6 * 22),  # 1,350 samples in batches of 64
        ({"trainer.accumulate_steps": 4}, 6 * 6),
        ({"trainer.len_epoch": 7}, 6 * 7),
        ({"lr_scheduler.interval": "epoch"}, 6),
    ],
)
def test_a_schedule_is_as_long_as_the_run(make_trainer, changes, n_steps):
    schedule = {"type": "OneCycleLR", "args": {"max_lr": 0.01, "total_steps": "auto"}}
    changes = {"trainer.epochs": 6, "trainer.len_epoch": None, **changes}
    interval = changes.pop("lr_scheduler.interval", "step")
    trainer = make_trainer(changes | {"lr_scheduler": schedule | {"interval": interval}})
    assert trainer.lr_scheduler.total_steps == n_steps
    assert trainer.config.settings.lr_scheduler.args["total_steps"] == n_steps


@pytest.mark.parametrize(
    ("type", "args"),
    [
        ("OneCycleLR", {"epochs": "auto", "steps_per_epoch": 4, "max_lr": 0.1}),
        ("OneCycleLR", {"steps_per_epoch": "auto", "epochs": 2, "max_lr": 0.1}),
        ("LinearLR", {"start_factor": "10%"}),
        ("StepLR", {"gamma": "10%", "step_size": "50%"}),
        ("CosineAnnealingLR", {"eta_min": "auto", "T_max": "auto"}),
        ("CosineAnnealingWarmRestarts", {"T_mult": "auto", "T_0": 4}),
        ("tools.by_group.OneCycleLR", {"max_lr": {"": "auto"}, "total_steps": "auto"}),
        ("data_loader.data_loaders.Warm", {"mode": "auto"}),
    ],
)
def test_only_lengths_of_schedules_follow_the_run(make_trainer, monkeypatch, type, args):
    monkeypatch.setattr(data_loaders, "Warm", lambda optimizer, mode: None, raising=False)
    with pytest.raises(UserError) as caught:
        make_trainer({"lr_scheduler": {"type": type, "args": args}})
    [line] = str(caught.value).splitlines()
    key = next(iter(args))
    assert f"lr_scheduler.args.{key}" in line and "is for lengths alone: T_max, T_0," in line


@pytest.mark.parametrize("name", ["warmup_steps", "steps", "n_iters", "max_epochs", "T_max"])
def test_a_length_of_another_schedule_is_known_by_its_name(make_trainer, monkeypatch, name):
    def warm(optimizer, **args):
        return torch.optim.lr_scheduler.ConstantLR(optimizer, total_iters=args[name])

    monkeypatch.setattr(data_loaders, "warm", warm, raising=False)
    schedule = {"type": "data_loader.data_loaders.warm", "args": {name: "50%"}}
    trainer = make_trainer({"lr_scheduler": schedule, "trainer.epochs": 6})
    assert trainer.lr_scheduler.total_iters == 3


def test_a_warm_up_is_a_share_and_the_rest_is_the_rest(make_trainer):
    trainer = make_trainer({"lr_scheduler": WARM_UP, "trainer.len_epoch": 8})
    log = trainer.train()
    args = kept(trainer)["lr_scheduler"]["args"]
    assert args["milestones"] == [4] and args["schedulers"][0]["args"]["total_iters"] == 4
    assert args["schedulers"][1]["args"]["T_max"] == 12
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.002)
    parts = [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 12)]
    by_hand = SequentialLR(optimizer, parts, [4])
    for _ in range(16):
        optimizer.step()
        by_hand.step()
    assert log["lr"] == by_hand.get_last_lr()[0] < 1e-6


def test_a_run_that_goes_on_keeps_its_numbers(make_config):
    changes = {"lr_scheduler": WARM_UP, "arch.args.num_classes": "${data.num_classes}"}
    straight = build_trainer(make_config({"trainer.epochs": 4} | changes))
    straight.train()
    stopped = build_trainer(make_config({"trainer.epochs": 4} | changes))
    stopped.epochs = 2
    stopped.train()
    last = stopped.checkpoint_dir / "last.pth"
    config = ConfigParser.from_args(train.CommandLine(None), argv=["-r", str(last)])
    resumed = build_trainer(config)
    resumed.train()
    for own, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(own, other)
    assert kept(resumed)["lr_scheduler"] == kept(straight)["lr_scheduler"]


def test_a_loader_without_length_is_asked_for_that_of_an_epoch(make_config, monkeypatch):
    class Endless:
        def __iter__(self):
            yield torch.zeros(4, 1, 8, 8), torch.zeros(4).long()

        def split_validation(self):
            return None

    monkeypatch.setattr(data_loaders, "Endless", Endless, raising=False)
    changes = {"data_loader": "Endless", "lr_scheduler.args.T_max": "auto"}
    step = {"lr_scheduler.interval": "step", "trainer.len_epoch": None}
    with pytest.raises(UserError, match="^lr_scheduler: .*: set trainer.len_epoch$"):
        build_trainer(make_config(changes | step))


class Offering(BaseDataLoader):
    """The digits, of which 0 and 1 are rarer; it offers a few numbers."""

    vocabulary = np.int64(17)
    means = torch.tensor([0.5, 0.25])

    def __init__(self, batch_size=64, shuffle=True, validation_split=0.1, training=True):
        with np.load(DIGITS) as arrays:
            images, labels = arrays["train_images"], arrays["train_labels"]
        some = (labels > 1) | (np.arange(len(labels)) % 3 == 0)
        self.samples = [
            {"image": torch.from_numpy(image)[None] / 16, "label": int(label)}
            for image, label in zip(images[some], labels[some], strict=True)
        ]
        super().__init__(self.samples, batch_size, shuffle, validation_split, 0)


class Sized(BaseModel):
    """(B, 1, 8, 8) images -> (B, num_classes) logits."""

    def __init__(self, num_classes: int, vocabulary: int = 0, means: tuple[float, ...] = ()):
        super().__init__()
        self.vocabulary, self.means = vocabulary, means
        self.fc = torch.nn.Linear(64, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


class OfDicts(trainer.Trainer):
    def train_step(self, batch):
        values = self.valid_step(batch)
        self.optimize(values["loss"])
        return values

    def valid_step(self, batch):
        return {"loss": self.criterion(self.model(batch["image"]), batch["label"])}


@pytest.fixture
def offering(monkeypatch, make_config):
    monkeypatch.setattr(data_loaders, "Offering", Offering, raising=False)
    monkeypatch.setattr(model, "Sized", Sized, raising=False)
    monkeypatch.setattr(trainer, "Trainer", OfDicts)
    changes = {
        "data_loader": {"type": "Offering", "args": {"validation_split": 0.2}},
        "arch": {"type": "Sized", "args": {"num_classes": "${data.num_classes}"}},
        "loss": {"type": "CrossEntropyLoss", "args": {"weight": "${data.class_weights}"}},
        "metrics": [],
    }
    return lambda more=None: make_config(changes | (more or {}))


def test_arguments_come_from_the_data_and_stay_as_numbers(offering):
    more = {"arch.args.vocabulary": "${data.vocabulary}", "arch.args.means": "${data.means}"}
    built = build_trainer(offering(more))
    assert (built.model.vocabulary, built.model.means) == (17, [0.5, 0.25])
    assert built.model.fc.out_features == 10
    loader = built.data_loader
    counts = Counter(loader.samples[i]["label"] for i in loader.sampler.indices.tolist())
    weights = [loader.n_samples / (10 * counts[label]) for label in range(10)]
    assert built.criterion.weight.tolist() == pytest.approx(weights)
    assert weights[0] > 2 * weights[5]
    built.train()
    assert kept(built)["arch"]["args"] == {
        "num_classes": 10,
        "vocabulary": 17,
        "means": [0.5, 0.25],
    }
    # What uses the model needs no data for it
    last = built.checkpoint_dir / "last.pth"
    assert load_model(last, "cpu").fc.out_features == 10
    given = ["-r", str(last), "-d", "cpu"]
    config = ConfigParser.from_args(train.CommandLine(None), argv=given, to_train=False)
    _, restored, criterion, _, _ = build_trained(config)
    assert restored.vocabulary == 17 and criterion.weight.tolist() == pytest.approx(weights)


def test_weights_of_labels_come_from_what_is_trained_on(monkeypatch, make_config):
    class Multi(BaseDataLoader):
        def __init__(self, batch_size=64, validation_split=0.5):
            with np.load(DIGITS) as arrays:
                images, labels = arrays["train_images"], torch.from_numpy(arrays["train_labels"])
            self.labels = torch.stack([labels % 2 == 0, labels == 3], dim=1).float()
            images = torch.from_numpy(images)[:, None] / 16
            dataset = torch.utils.data.TensorDataset(images, self.labels)
            super().__init__(dataset, batch_size, True, validation_split, 0)

    monkeypatch.setattr(data_loaders, "Multi", Multi, raising=False)
    loss = {"type": "BCEWithLogitsLoss", "args": {"pos_weight": "${data.pos_weight}"}}
    changes = {"data_loader": "Multi", "loss": loss, "metrics": [], "arch.args.num_classes": 2}
    trainer = build_trainer(make_config(changes))
    own = trainer.data_loader.labels[trainer.data_loader.sampler.indices]
    expected = [(1 - own[:, i]).sum() / own[:, i].sum() for i in range(2)]
    assert trainer.criterion.pos_weight.tolist() == pytest.approx([x.item() for x in expected])
    with pytest.raises(UserError, match=r"no class numbers, but float32 of \(1500, 2\)$"):
        build_trainer(make_config(changes | {"arch.args.num_classes": "${data.num_classes}"}))


def one_line(make, **changes):
    with pytest.raises(UserError) as caught:
        build_trainer(make(changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_data_do_not_tell_is_one_line(offering):
    line = one_line(offering, **{"arch.args.vocabulary": "${data.vocabulry}"})
    assert line.startswith("arch.args.vocabulary = '${data.vocabulry}': Offering has no such value")
    assert line.endswith("did you mean 'vocabulary'?")
    line = one_line(offering, **{"data_loader.args.batch_size": "${data.n_samples}"})
    assert line.endswith('batch_size = "${data.n_samples}": must be a whole number, 1 or more')
    line = one_line(offering, **{"arch.args.num_classes": "${data.means}"})
    assert "arch.args.num_classes = [0.5, 0.25]: must be a whole number" in line
    assert one_line(offering, **{"arch.args.means": "${data.split_validation}"})


def test_other_mistakes_are_found_before_any_data_are_read(make_config, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the data were read")

    monkeypatch.setattr(data_loaders.DigitsDataLoader, "__init__", never)
    monkeypatch.setattr(train.ConfigParser, "init_obj", never)
    changes = {"arch.args": {"num_classes": "${data.num_classes}", "droput": 0.1}}
    with pytest.raises(UserError, match="arch.args.droput: unknown key; did you mean 'dropout'?"):
        build_trainer(make_config(changes))


def test_only_a_training_has_data_to_ask(tmp_path, make_config):
    config = json.loads(CONFIG.read_text())
    config["arch"]["args"]["num_classes"] = "${data.num_classes}"
    file = tmp_path / "open.json"
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"open.json: arch.args.num_classes = .*only a training"):
        train.build_model(ConfigParser.from_file(file))


def test_without_the_extra_they_are_wrong_values(make_config, monkeypatch):
    monkeypatch.setattr("utils.extras.load_callbacks", lambda: [Arguments()])
    changes = {"lr_scheduler.args.T_max": "auto", "arch.args.num_classes": "${data.num_classes}"}
    with pytest.raises(UserError) as caught:
        build_trainer(make_config(changes))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and all(": must be a " in line for line in lines)


def test_a_schedule_has_values_by_group(make_config):
    changes = {
        "optimizer": {"type": "SGD", "groups": {"conv*": {"lr": 0.1}, "*.bias": {}}},
        "lr_scheduler": {
            "type": "tools.by_group.OneCycleLR",
            "args": {"max_lr": {"": 0.01, "conv*": 0.001, "conv* *.bias": 0.002, "*.bias": 0.02}},
            "interval": "step",
        },
    }
    changes["lr_scheduler"]["args"]["total_steps"] = "auto"
    trainer = build_trainer(make_config(changes))
    highest = {}
    for _ in range(7):
        for name, lr in learning_rates(trainer.optimizer).items():
            highest[name] = max(lr, highest.get(name, 0))
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    expected = {"lr_conv*": 0.001, "lr_conv* *.bias": 0.002, "lr": 0.01, "lr_*.bias": 0.02}
    assert highest.keys() >= expected.keys() - {"lr"}
    top = {group.get("name", ""): group["max_lr"] for group in trainer.optimizer.param_groups}
    assert top == {"": 0.01, "conv*": 0.001, "conv* *.bias": 0.002, "*.bias": 0.02}
    trainer = build_trainer(make_config(changes))
    trainer.train()
    last = trainer.checkpoint_dir / "last.pth"
    build_trainer(make_config(kept(trainer) | {"trainer.epochs": 3}, resume=last))
    with pytest.raises(UserError, match="optimizer.type: SGD -> Adam: for that, start a new run"):
        build_trainer(make_config(resume=last)).train()
    del changes["lr_scheduler"]["args"]["max_lr"]["conv*"]
    line = one_line(make_config, **changes)
    assert line.startswith("lr_scheduler: max_lr = {") and "each of '', 'conv*'," in line
    changes["lr_scheduler"] = {"type": "tools.by_group.OneCycle"}
    assert "there is no 'OneCycle' in tools.by_group" in one_line(make_config, **changes)


def test_folds_whose_data_numbers_differ_are_a_group(make_config, monkeypatch):
    """Class weights are those of the samples that a fold trains on."""

    class Folded(DigitsDataLoader):
        def __init__(self, fold, **options):
            super().__init__(**options)
            self.class_weights = [1.0 + fold] * 10

    monkeypatch.setattr(data_loaders, "Folded", Folded, raising=False)
    weights = {"type": "cross_entropy", "args": {"weight": "${data.class_weights}"}}
    found = []
    for fold in range(2):
        changes = {"loss": weights, "lr_scheduler.args.T_max": "auto", "trainer.epochs": 1}
        changes |= {"data_loader": {"type": "Folded", "args": {"fold": fold}}}
        trainer = build_trainer(make_config(changes))
        trainer.train()
        found.append(Run(trainer.checkpoint_dir))
    assert found[0].config["loss"] != found[1].config["loss"]
    [group] = groups_of(found, "val_loss")
    assert sorted(group.values) == [(0, 0), (0, 1)]
    other = build_trainer(make_config(changes | {"loss": "cross_entropy"}))
    other.train()
    assert len(groups_of([*found, Run(other.checkpoint_dir)], "val_loss")) == 2
