"""What --summary and --find-lr show before a training."""

import copy
import re
from itertools import count

import numpy as np
import pytest

from tools import find_lr, summary
from utils import UserError


def test_summary_shows_layers_parameters_and_memory(make_config, make_trainer, tmp_path, capsys):
    config = make_config()
    summary.run(config, True)
    out = capsys.readouterr().out
    assert not any(tmp_path.iterdir())  # no run directory
    model = make_trainer().model
    for name, layer in model.named_children():
        kind = type(layer).__name__
        [line] = re.findall(rf"^  {name} +{kind} +\(64, [\d, ]+\) *([\d,]*)$", out, re.M)
        own = sum(parameter.numel() for parameter in layer.parameters())
        assert line == (f"{own:,}" if own else "")
    assert re.search(rf"^model +{type(model).__name__} +\(64, 10\)$", out, re.M)
    n = sum(parameter.numel() for parameter in model.parameters())
    assert f"{n:,} parameters, of which {n:,} are trained" in out
    mb = {key: float(value) for key, value in re.findall(r"^  (\D+?) +([\d.]+)$", out, re.M)}
    assert mb["weights and buffers"] == mb["gradients"] == pytest.approx(4 * n / 1e6, abs=0.01)
    assert mb["state of the optimizer"] == pytest.approx(2 * mb["gradients"], abs=0.02)  # Adam
    assert mb["kept for backward"] > 0.1


def test_summary_counts_what_is_frozen_and_not_called(make_trainer):
    trainer = make_trainer()
    trainer.model.fc1.requires_grad_(False)
    trainer.model.unused = copy.deepcopy(trainer.model.fc1)
    shapes, kept, n_samples = summary.take_step(trainer)
    rows = {row[0].strip(): row for row in summary.layers(trainer.model, shapes)}
    assert rows["unused"][2] == "not called" and rows["fc2"][2] == "(64, 10)"
    assert n_samples == 64
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert summary.memory(trainer, kept)["gradients"] == 4 * trained


def test_find_lr_draws_and_suggests_and_leaves_only_the_picture(make_config, tmp_path, capsys):
    config = make_config()
    find_lr.run(config, True)
    [line, suggested] = capsys.readouterr().out.splitlines()
    picture = tmp_path / "saved" / config["name"] / "find_lr.png"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "saved", picture.parent, picture]
    assert line.startswith(f"{picture}: ") and picture.read_bytes().startswith(b"\x89PNG")
    rate = re.fullmatch(r"Suggested: optimizer\.args\.lr=(\S+)", suggested)[1]
    assert 1e-4 < float(rate) < 1e-1


def test_the_suggestion_trains_better_than_a_tenth_or_ten_times_as_much(make_config, make_trainer):
    trainer = make_trainer()
    rate = find_lr.suggest(*find_lr.range_test(trainer))
    short = {"trainer.epochs": 1, "trainer.len_epoch": None, "lr_scheduler": None}
    losses = [
        make_trainer(short | {"optimizer.args.lr": rate * factor}).train()["val_loss"]
        for factor in (1, 0.01, 100)
    ]
    assert losses[0] == min(losses)


@pytest.mark.parametrize("policy", ["stop", "skip", "ignore"])
def test_a_loss_that_is_not_finite_ends_the_range_test(make_trainer, policy):
    trainer, n_steps = make_trainer({"trainer.non_finite": policy}), count()
    criterion = trainer.criterion
    trainer.criterion = lambda output, target: (
        criterion(output, target) * (float("nan") if next(n_steps) >= 30 else 1)
    )
    rates, losses = find_lr.range_test(trainer)
    assert len(rates) == len(losses) == 30


def test_a_range_test_is_of_the_training_with_all_that_changes_it(make_trainer):
    changes = {"trainer.ema": 0.9, "trainer.non_finite": "skip", "freeze": {"conv1.*": 2}}
    trainer = make_trainer(changes)
    before, n_steps, criterion = trainer.model.conv1.weight.clone(), count(), trainer.criterion
    trainer.criterion = lambda output, target: (
        criterion(output, target) * (float("nan") if next(n_steps) == 5 else 1)
    )
    rates, losses = find_lr.range_test(trainer)
    assert trainer.model.conv1.weight.equal(before)  # as in the first epoch
    assert trainer.state["finite"].n_skipped == 1 and find_lr.STEPS / 5 < len(losses)
    assert trainer.state["ema"].n_averaged == len(losses) + 1  # one was skipped


def test_groups_keep_their_proportion(make_trainer):
    groups = {"fc2.*": {"lr": 0.5}}
    trainer = make_trainer({"optimizer.args.lr": 0.05, "optimizer.groups": groups})
    seen = []
    with trainer.model.register_forward_pre_hook(
        lambda *_: seen.append([group["lr"] for group in trainer.optimizer.param_groups])
    ):
        rates, losses = find_lr.range_test(trainer)
    assert np.allclose(seen[: len(rates)], [[rate, 10 * rate] for rate in rates])


def test_a_rate_of_zero_has_no_multiples(make_trainer):
    with pytest.raises(UserError, match="optimizer.args.lr, which is 0"):
        find_lr.range_test(make_trainer({"optimizer.args.lr": 0}))


def falling(rates, centre):
    """A loss that falls around a rate, and explodes at a hundred times as much."""
    position = np.log10(rates / centre)
    return 2 - np.tanh(2 * position) + np.where(position > 2, 10.0 ** (position - 2), 0)


def test_the_suggestion_is_where_the_loss_falls_most_steeply():
    rates = np.geomspace(find_lr.LOWEST, find_lr.HIGHEST, find_lr.STEPS)
    for centre in (1e-4, 1e-3, 1e-2):
        assert 0.5 < find_lr.suggest(rates, falling(rates, centre)) / centre < 2
    spike = np.where(rates > 0.02, 2.5, falling(rates, 1e-3))
    spike[(rates > 0.02) & (rates < 0.06)] = 50  # from here it falls more steeply than ever
    assert 0.5 < find_lr.suggest(rates, spike) / 1e-3 < 2
    with pytest.raises(UserError, match="falls at no learning rate"):
        find_lr.suggest(rates, np.linspace(1, 2, len(rates)))
    with pytest.raises(UserError, match="explodes within 5 steps"):
        find_lr.suggest(rates[:5], np.ones(5))


def test_find_lr_takes_one_optimizer(make_trainer):
    parts = {
        "fc1": {"type": "SGD", "args": {"lr": 0.1}},
        "fc2": {"type": "SGD", "args": {"lr": 0.1}},
    }
    trainer = make_trainer({"optimizer": parts, "lr_scheduler": None})
    with pytest.raises(UserError, match="one optimizer, the config has several: fc1, fc2"):
        find_lr.range_test(trainer)


@pytest.mark.parametrize(
    ("scheduler", "n_run", "key"),
    [
        ({"args": {"total_steps": 7}, "interval": "step"}, 8, "lr_scheduler"),
        ({"args": {"total_steps": 8}, "interval": "step"}, None, None),
        ({"args": {"total_steps": 1}}, 2, "lr_scheduler"),
        ({"args": {"epochs": 1, "steps_per_epoch": 4}, "interval": "step"}, 8, "lr_scheduler"),
        ({"after": 3, "args": {"total_steps": 4}}, 5, "lr_scheduler.args.schedulers.1"),
        ({"after": 3, "args": {"total_steps": 5}}, None, None),
    ],
)
def test_a_schedule_that_ends_before_the_run_is_refused(make_trainer, scheduler, n_run, key):
    scheduler["args"]["max_lr"] = 0.01
    one_cycle = {"type": "OneCycleLR", "interval": "epoch"} | scheduler
    if after := one_cycle.pop("after", None):
        inner = [{"type": "ConstantLR"}, {"type": "OneCycleLR", "args": scheduler["args"]}]
        args = {"schedulers": inner, "milestones": [after]}
        one_cycle = {"type": "SequentialLR", "args": args, "interval": "step"}
    trainer = make_trainer({"lr_scheduler": one_cycle})
    if n_run is None:
        trainer.train()
    else:
        with pytest.raises(UserError, match=rf"^{key}\.args\.total_steps: .* the run {n_run} \("):
            trainer.train()


def test_a_longer_run_is_refused_where_its_schedule_goes_on(make_trainer):
    one_cycle = {"type": "OneCycleLR", "args": {"max_lr": 0.01, "total_steps": 8}}
    changes = {"lr_scheduler": one_cycle | {"interval": "step"}}
    first = make_trainer(changes)
    first.train()
    last = first.checkpoint_dir / "last.pth"
    with pytest.raises(UserError, match=r"has 8 steps, .* run 12 \(.* trainer.epochs = 3\)"):
        make_trainer(changes | {"trainer.epochs": 3}, resume=last).train()
