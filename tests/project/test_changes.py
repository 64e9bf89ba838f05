"""A run that goes on with other values in its optimizer or its schedule has the right rates."""

import pytest
import torch

from trainer.trainer import Trainer
from utils.errors import UserError
from utils.optim import by_name

SGD = {"type": "SGD", "args": {"lr": 0.02, "momentum": 0.9}}
OWN_RATE = SGD | {"groups": {"*.bias": {"lr": 0.001}}}
COSINE = {"type": "CosineAnnealingLR", "args": {"T_max": 3}}
STEPS = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}
LINEAR = {"type": "LinearLR", "args": {"start_factor": 0.01, "total_iters": 3}}
ONE_CYCLE = {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 6}}
CYCLIC = {"type": "CyclicLR", "args": {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 2}}
WARM_UP = {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 4}}
SEQUENCE = {
    "type": "SequentialLR",
    "args": {
        "schedulers": [WARM_UP, {"type": "CosineAnnealingLR", "args": {"T_max": 4}}],
        "milestones": [4],
    },
}
RESTARTS = {"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 2}}
CHAIN = {
    "type": "ChainedScheduler",
    "args": {"schedulers": [WARM_UP, {"type": "ExponentialLR", "args": {"gamma": 0.9}}]},
}
LR, ARGS = "optimizer.args.lr", "lr_scheduler.args"


@pytest.fixture
def train(make_trainer):
    """Train epochs of a step; the trainer, and the parameter groups as each step has them."""

    def train(n_epochs, changes, first=None):
        short = {"trainer.epochs": n_epochs, "trainer.len_epoch": 1, "optimizer": SGD}
        resume = first and first.checkpoint_dir / "last.pth"
        trainer, seen = make_trainer(short | changes, resume=resume), []

        def note(optimizer, *_):
            groups = optimizer.param_groups
            seen.append([{k: x for k, x in one.items() if k != "params"} for one in groups])

        for optimizer in by_name(trainer.optimizer).values():
            optimizer.register_step_pre_hook(note)
        trainer.train()
        return trainer, seen

    return train


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"lr_scheduler": SEQUENCE}, {LR: 0.002}),
        ({"lr_scheduler": ONE_CYCLE}, {LR: 0.05}),
        ({"lr_scheduler": CYCLIC}, {LR: 0.05}),
        ({"lr_scheduler": RESTARTS}, {LR: 0.05}),
        ({"lr_scheduler": CHAIN}, {LR: 0.05}),
        ({"lr_scheduler": None, "optimizer": OWN_RATE}, {LR: 0.05}),
        ({"lr_scheduler": STEPS, "optimizer": OWN_RATE}, {LR: 0.01}),
        ({"lr_scheduler": ONE_CYCLE}, {f"{ARGS}.max_lr": 0.2, f"{ARGS}.pct_start": 0.5}),
        ({"lr_scheduler": SEQUENCE}, {f"{ARGS}.milestones": [2]}),
        ({"lr_scheduler": ONE_CYCLE}, {"optimizer.args.weight_decay": 0.1}),
        ({"optimizer": {"type": "SGD", "args": {}}}, {LR: 0.05}),
        (
            {"optimizer": SGD | {"groups": {"*.bias": {"weight_decay": 0}}}},
            {"optimizer.args.weight_decay": 0.2},
        ),
    ],
)
def test_the_groups_are_those_of_a_run_with_the_new_values(train, changes, new):
    _, straight = train(6, changes | new)
    first, _ = train(2, changes)
    _, resumed = train(6, changes | new, first)
    assert resumed == straight[2:]


@pytest.mark.parametrize("n_before", [2, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (COSINE, {"lr_scheduler": None, LR: 0.005}),
        (COSINE, {"lr_scheduler": STEPS, LR: 0.005}),
        (COSINE, {"lr_scheduler": STEPS}),
        (COSINE, {"lr_scheduler": "ReduceLROnPlateau", LR: 0.005}),
        (None, {"lr_scheduler": LINEAR}),
        (STEPS, {"lr_scheduler": ONE_CYCLE}),
        (ONE_CYCLE, {"lr_scheduler": COSINE}),
        (SEQUENCE, {"lr_scheduler": CHAIN}),
    ],
)
def test_another_schedule_begins_at_its_own_beginning(train, old, new, n_before):
    _, straight = train(6, {"lr_scheduler": None} | new)
    first, _ = train(n_before, {"lr_scheduler": old})
    _, resumed = train(6, new, first)
    assert len(resumed) == 6 - n_before
    pairs = zip(sum(resumed, []), sum(straight[: len(resumed)], []), strict=True)
    assert all(own.items() <= group.items() for group, own in pairs)


def test_a_rate_that_was_reached_on_a_plateau_is_scaled(train):
    plateau = {"type": "ReduceLROnPlateau", "args": {"threshold": 9, "patience": 0}}
    changes = {"lr_scheduler": plateau, "optimizer": OWN_RATE}
    first, _ = train(3, changes)
    reached = [group["lr"] for group in first.optimizer.param_groups]
    assert max(reached) < 0.02
    new = {LR: 0.001, f"{ARGS}.patience": 5}  # which is the rate that one group has of its own
    again, seen = train(4, changes | new, first)
    rates = {group.get("name"): group["lr"] for group in seen[0]}
    assert rates == {None: pytest.approx(reached[0] / 20), "*.bias": reached[1]}
    assert again.lr_scheduler.patience == 5
    with pytest.raises(UserError, match="^lr_scheduler.args.mode: cannot be changed"):
        train(5, changes | {f"{ARGS}.mode": "max", "trainer.monitor": "max val_loss"}, again)


@pytest.mark.parametrize(
    ("kind", "option", "state"),
    [
        ("AdamW", {"amsgrad": True}, "max_exp_avg_sq"),
        ("RMSprop", {"centered": True}, "grad_avg"),
        ("RMSprop", {"momentum": 0.9}, "momentum_buffer"),
    ],
)
def test_an_option_is_refused_for_which_the_run_has_kept_no_state(train, kind, option, state):
    first, _ = train(1, {"optimizer": {"type": kind, "args": {}}})
    line = rf"^optimizer\.args\.{next(iter(option))}.*: needs a state '{state}' that the run "
    with pytest.raises(UserError, match=line):
        train(2, {"optimizer": {"type": kind, "args": option}}, first)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("AdamW", {"amsgrad": True}, {"amsgrad": False}),
        ("AdamW", {}, {"maximize": True}),
        ("SGD", {}, {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_an_option_that_needs_no_more_state_is_taken(train, kind, old, new):
    first, _ = train(1, {"optimizer": {"type": kind, "args": old}})
    again, seen = train(2, {"optimizer": {"type": kind, "args": new}}, first)
    assert len(seen) == 1 and new.items() <= seen[0][0].items()


class Alternating(Trainer):
    def train_step(self, batch):
        for optimizer in self.optimizer.values():
            self.optimize(self.criterion(self.model(batch[0]), batch[1]), optimizer)
        return {}


def test_only_the_schedule_that_changes_begins_anew(train, monkeypatch):
    monkeypatch.setattr("trainer.Trainer", Alternating)
    optimizer = {"conv1": SGD, "fc1": SGD}
    first, _ = train(2, {"optimizer": optimizer, "lr_scheduler": {"conv1": STEPS, "fc1": STEPS}})
    schedules = {"conv1": COSINE, "fc1": STEPS}
    again, _ = train(3, {"optimizer": optimizer, "lr_scheduler": schedules}, first)
    rates = {name: one.param_groups[0]["lr"] for name, one in again.optimizer.items()}
    assert rates == {"conv1": pytest.approx(0.015), "fc1": 0.02 / 8}


def test_a_length_is_that_of_the_rest_where_another_schedule_begins(train, make_trainer):
    def length(first, schedule, name, interval="epoch"):
        schedule = {**schedule, "args": schedule["args"] | {name: "auto"}, "interval": interval}
        changes = {"trainer.epochs": 6, "trainer.len_epoch": 3, "optimizer": SGD}
        last = first.checkpoint_dir / "last.pth"
        trainer = make_trainer(changes | {"lr_scheduler": schedule}, resume=last)
        return getattr(trainer.lr_scheduler, name)

    plain, _ = train(2, {"lr_scheduler": None})
    cycle, _ = train(2, {"lr_scheduler": ONE_CYCLE})
    for first in (plain, cycle):
        assert length(first, ONE_CYCLE, "total_steps", "step") == 6 * 3 - 2
        assert length(first, COSINE, "T_max") == 4
    assert length(cycle, ONE_CYCLE, "total_steps") == 6
    second, _ = train(3, {"lr_scheduler": COSINE}, plain)
    assert length(second, COSINE, "T_max") == 4  # it has begun after two epochs


def test_a_cycle_that_would_be_over_is_refused(train):
    first, _ = train(3, {"lr_scheduler": ONE_CYCLE})
    with pytest.raises(UserError, match="^lr_scheduler: Tried to step 3 times. .* is 2$"):
        train(4, {"lr_scheduler": ONE_CYCLE, f"{ARGS}.total_steps": 2}, first)


def test_weights_to_begin_with_are_refused_where_a_run_goes_on(train):
    first, _ = train(1, {})
    last = str(first.checkpoint_dir / "last.pth")
    begun, _ = train(1, {"init_from.checkpoint": last})
    train(2, {"init_from.checkpoint": last}, begun)  # as it has begun
    for run, path in [(first, last), (begun, str(begun.checkpoint_dir / "model_best.pth"))]:
        with pytest.raises(UserError, match="^init_from: begins a new run"):
            train(3, {"init_from.checkpoint": path}, run)
    torch.save({"state_dict": first.model.state_dict()}, first.checkpoint_dir / "last.pth")
    with pytest.raises(UserError, match="^init_from: begins a new run"):
        train(2, {"init_from.checkpoint": last}, first)


@pytest.mark.parametrize("total", [4, "auto"])
def test_a_schedule_that_begins_in_the_run_is_as_long_as_what_is_left(train, total):
    first, _ = train(2, {"lr_scheduler": STEPS})
    cycle = {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": total}}
    with pytest.raises(UserError, match="the schedule has 3 steps, but the run 4"):
        train(6, {"lr_scheduler": cycle | {"args": {"max_lr": 0.1, "total_steps": 3}}}, first)
    trainer, seen = train(6, {"lr_scheduler": cycle}, first)
    assert trainer.lr_scheduler.total_steps == 4 == len(seen)
    assert seen[0][0]["lr"] == pytest.approx(0.004)
