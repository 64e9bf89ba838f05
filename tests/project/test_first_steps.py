"""What the first steps of a run and --check find, and what they pass over."""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from base import BaseDataLoader, BaseModel, Callback
from data_loader import data_loaders
from digits_example import DigitsDataLoader, DigitsModel
from model import metric, model
from tools import check, steps
from tools.check import NO_STEP, OWN_STEP, FewBatches, FirstSteps, better
from tools.steps import OLD_GRADIENTS
from tools.targets import Targets, n_classes_of
from train import build_trainer
from trainer.trainer import Trainer
from utils import UserError, extras
from utils.errors import place_of


class Changed(BaseDataLoader):
    """The digits in batches of another form; tests set `change`, of (input, target)."""

    change = staticmethod(lambda data, target: (data, target))

    def __init__(self, n=200, batch_size=32, validation_split=0.1, **options):
        images, labels = DigitsDataLoader(validation_split=0).dataset.tensors
        samples = [self.change(*pair) for pair in zip(images[:n], labels[:n], strict=True)]
        super().__init__(samples, batch_size, True, validation_split, 0, **options)


@pytest.fixture
def run(make_config, monkeypatch, capsys):
    """Train, or check, with parts that a test has changed; its status and what it says."""

    def go(changes=None, change=None, step=None, flag=None):
        changes = {"lr_scheduler": None, "trainer.len_epoch": None} | (changes or {})
        if change is not None:
            monkeypatch.setattr(Changed, "change", staticmethod(change))
        if change is not None or "data_loader.args" in changes:
            monkeypatch.setattr(data_loaders, "Changed", Changed, raising=False)
            changes = {"data_loader.type": "Changed", "data_loader.args": {}} | changes
        if step is not None:
            step.__code__ = step.__code__.replace(co_name="train_step")  # as in a class
            monkeypatch.setattr("trainer.Trainer", type("Own", (Trainer,), {"train_step": step}))
        config, status = make_config(changes), 0
        try:
            check.run(config, None) if flag else build_trainer(config).train()
        except UserError as error:
            status = error.status
            if not error.is_shown:
                print(error, file=sys.stderr)
        out, err = capsys.readouterr()
        return status, out, err

    return go


BCE = {"loss": "binary_cross_entropy_with_logits", "metrics": []}
CASES = {
    "classes": ({"arch.args.num_classes": 7}, None, "classes count from 0; for C of them"),
    "float targets": ({}, lambda x, y: (x, y.float()), "(got|found) Float; .*takes int64"),
    "class numbers": (BCE, None, "Target size .*floats in the shape of the output"),
    "float64": ({}, lambda x, y: (x.double(), y), "float64 .*data loader is to give float32"),
    "swapped": ({}, lambda x, y: (y, x), r"is int64 \(32,\), .* is to give \(input, target\)"),
    "two inputs": (
        {},
        lambda x, y: (x, x, y),
        "values to unpack .*two tensors: write it",
    ),
    "dict": (
        {},
        lambda x, y: {"image": x, "label": y},
        "{image: .*two tensors: write it",
    ),
    "tuple of images": ({}, lambda x, y: ((x, x), y), "two tensors: write it for this batch"),
    "shape": ({}, lambda x, y: (x[:, :5], y), "the model is to fit it"),
    "no mean": ({"loss": {"type": "cross_entropy", "args": {"reduction": "none"}}}, None, "mean"),
}


@pytest.mark.parametrize("flag", [None, "--check"])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_that_does_not_fit_is_one_line(run, monkeypatch, name, flag):
    monkeypatch.setattr(Targets, "on_train_start", lambda *_: None)  # of a full project
    changes, change, expected = CASES[name]
    status, _, err = run(changes, change, flag=flag)
    assert status == 2 and err.count("\n") == 1 and err.startswith("epoch 1, step 0: ")
    assert re.search(expected, err), err


ONE = {"arch.args.num_classes": 1, "loss": "mse_loss", "metrics": []}
SUM = {"type": "mse_loss", "args": {"reduction": "sum"}}
TARGETS = {
    "classes": (
        {"arch.args.num_classes": 7}, None,
        "cross_entropy takes int64 (64,) from 0 to 6 as targets for float32 (64, 7), "
        "not int64 (64,) from 0 to 9: see arch.args.num_classes = 7; ",
    ),
    "float targets": ({}, lambda x, y: (x, y.float()), "not float32 (32,) from 0 to 9: "),
    "int32": ({}, lambda x, y: (x, y.int()), "takes int64 (32,) from 0 to 9"),
    "a column": ({}, lambda x, y: (x, y[None]), "not int64 (32, 1) from 0 to 9: "),
    "class numbers": (BCE, None, "takes float32 (64, 10) from 0 to 1"),
    "numbers for chances": (
        BCE | {"arch.args.num_classes": 1}, lambda x, y: (x, y[None].float()), "from 0 to 9: for cl"
    ),
    "each with each": (ONE, lambda x, y: (x, y.float()), "mse_loss takes float32 (32, 1) as"),
    "their sum": (ONE | {"loss": SUM}, lambda x, y: (x, y.float()), "give both the same shape"),
}  # fmt: skip


@pytest.mark.parametrize("flag", [None, "--check"])
@pytest.mark.parametrize("name", TARGETS)
def test_targets_that_do_not_fit(run, name, flag):
    changes, change, expected = TARGETS[name]
    status, _, err = run(changes, change, flag=flag)
    assert status == 2 and err.count("\n") == 1 and err.startswith("epoch 1, step 0: loss: ")
    assert expected in err, err


def soft(x, y):
    return x, torch.nn.functional.one_hot(y, 10).float()


@pytest.mark.parametrize(
    ("changes", "change", "said"),
    [
        (
            {"arch.args.num_classes": 12},
            None,
            "arch.args.num_classes = 12: the outputs are for 12 classes",
        ),
        ({}, lambda x, y: (x, torch.where(y == 3, -100, y)), ""),
        ({}, lambda x, y: (x, y.to(torch.uint8)), ""),
        ({"metrics": []}, soft, ""),
        (BCE, lambda x, y: (x, soft(x, y)[1] * 0.9), ""),
        (ONE, lambda x, y: (x, y[None].float()), ""),
        (ONE | {"arch.args.num_classes": 3}, lambda x, y: (x, y[None].float()), ""),
        ({"arch": {"type": "Wide", "args": {"width": 12}}}, None, "arch.args.width = 12: the outp"),
    ],
)
def test_what_is_said_of_targets_that_fit(run, monkeypatch, changes, change, said):
    def wide(width):
        return DigitsModel(num_classes=width)

    monkeypatch.setattr(model, "Wide", wide, raising=False)
    changes = {"trainer.verbosity": 0, "trainer.epochs": 1} | changes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that 1 is taken for 3
        status, out, err = run(changes, change)
    assert (status, err) == (0, "") and out.startswith(said) and out.count("\n") == bool(said)


def test_classes_of_the_data():
    def count(*tensors, **attributes):
        loader = DataLoader(TensorDataset(*tensors), 2)
        vars(loader).update({k: v for k, v in attributes.items() if k == "classes"})
        return n_classes_of(loader)

    inputs = torch.zeros(3, 2)
    assert count(inputs, torch.tensor([0, 4, 2])) == 5
    assert count(inputs, torch.tensor([0, 4, 2]), classes=list("abcdefg")) == 7
    assert count(inputs, torch.zeros(3, 8, dtype=torch.long)) == 0  # of tokens or pixels
    assert count(inputs, torch.tensor([0, 1, 2]), classes=5) == 0  # another thing by this name
    assert count(inputs, torch.tensor([0, 1, 2]), classes="three") == 0
    assert count(inputs, torch.tensor([0.0, 0.5, 0.2])) == 0
    assert count(inputs, torch.tensor([0, 4, 2]), torch.ones(3, dtype=torch.long)) == 0  # weights
    assert n_classes_of(None) == n_classes_of([1, 2]) == n_classes_of(DataLoader([1, 2])) == 0


class Raises:
    def __get__(self, *_):
        raise RuntimeError("the labels are read")


OTHER_THINGS = [
    {"tensors": {"x": torch.zeros(9, 1, 8, 8), "y": torch.zeros(9)}},
    {"tensors": ()},
    {"tensors": None},
    {"targets": Raises()},
    {"targets": np.zeros(5, int)},
    {"targets": torch.zeros(200)},
]


@pytest.mark.parametrize("attributes", OTHER_THINGS)
def test_what_has_the_names_of_labels_ends_no_run(run, monkeypatch, attributes):
    data = type("Own", (list,), attributes)(Changed().dataset)

    def loader(batch_size=32):
        return BaseDataLoader(data, batch_size, True, 0, 0)

    assert n_classes_of(loader()) == 0
    monkeypatch.setattr(data_loaders, "Own", loader, raising=False)
    changes = {"data_loader": {"type": "Own", "args": {}}, "trainer.monitor": "off"}
    status, out, err = run(changes | {"arch.args.num_classes": 12, "trainer.verbosity": 0})
    assert (status, out, err) == (0, "", "")


@pytest.mark.parametrize("flag", [None, "--check"])
@pytest.mark.parametrize("size", ["essential", "full"])
def test_a_loss_of_three_arguments_is_one_line(run, request, size, flag):
    if size == "essential":
        request.getfixturevalue("essential")
    status, _, err = run({"loss": "GaussianNLLLoss", "metrics": []}, flag=flag)
    assert status == 2 and err.count("\n") == 1 and err.startswith("epoch 1, step 0: ")
    assert "argument: 'var'; the batch is float32 (64, 1, 8, 8), int64 (64,): write a t" in err


def test_an_essential_project_advises_no_replay(run, essential):
    status, _, err = run(change=lambda x, y: (x * float("nan"), y))
    assert status == 1 and "the step was not taken" in err and "--replay" not in err


def test_an_error_of_the_code_itself_keeps_its_traceback_and_says_where(run, capsys):
    def step(self, batch):
        return {"loss": undefined}  # noqa: F821

    with pytest.raises(NameError) as caught:
        run(step=step)
    said = capsys.readouterr().err
    assert re.fullmatch(r"epoch 1, step 0: \S+:\d+: NameError: .*\. No checkpoint yet\.\n", said)
    trainer_file = compile("1 / 0", Trainer.train_step.__code__.co_filename, "exec")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(trainer_file)
    assert place_of(caught.value) == "trainer/trainer.py:1: "


def forward_and_loss(trainer, batch):
    data, target = batch
    return trainer.criterion(trainer.model(data), target)


def accumulating(self, batch):
    loss = forward_and_loss(self, batch)
    loss.backward()
    self.optimizer.step()
    return {"loss": loss}


def own_step(self, batch):
    self.optimizer.zero_grad(set_to_none=self.step % 2 == 0)
    return accumulating(self, batch)


def cleared_after(self, batch):
    values = accumulating(self, batch)
    self.model.zero_grad()
    return values


def with_closure(self, batch):
    def closure():
        self.optimizer.zero_grad()
        loss = forward_and_loss(self, batch)
        loss.backward()
        return loss

    return {"loss": self.optimizer.step(closure)}


def every_third(self, batch):
    """Accumulates by itself."""
    loss = forward_and_loss(self, batch)
    (loss / 3).backward()
    if self.step % 3 == 2:
        self.optimizer.step()
        self.optimizer.zero_grad()
    return {"loss": loss}


def no_step(self, batch):
    return {"loss": forward_and_loss(self, batch)}


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        (own_step, {}, OWN_STEP),
        (cleared_after, {}, OWN_STEP),
        (every_third, {}, OWN_STEP),
        (with_closure, {"optimizer": {"type": "LBFGS", "args": {"max_iter": 2}}}, ""),
        (None, {"trainer.accumulate_steps": 3, "trainer.ema": 0.9}, ""),
        (None, {"trainer.precision": "fp16"}, ""),
        (None, {"trainer.clip_grad_norm": 1, "trainer.non_finite": "skip"}, ""),
        (None, {"optimizer": {"type": "SGD", "args": {"lr": 0.1}, "groups": {"fc*": {}}}}, ""),
    ],
)
def test_what_is_said_of_steps(run, step, changes, said):
    changes = {"metrics": [], "trainer.verbosity": 0, "trainer.epochs": 1} | changes
    status, out, err = run(changes, step=step)
    assert (status, out, err) == (0, said + "\n" * bool(said), "")


def nothing_to_learn(self, batch):
    """Steps, but no weight has a gradient."""
    self.optimizer.zero_grad()
    self.optimizer.step()
    return {"loss": forward_and_loss(self, batch)}


@pytest.mark.parametrize("flag", [None, "--check"])
@pytest.mark.parametrize("step", [no_step, nothing_to_learn])
def test_steps_that_change_no_weight_are_told(run, step, flag):
    status, out, err = run({"metrics": [], "trainer.verbosity": 2}, step=step, flag=flag)
    assert out.count(NO_STEP) == 1
    assert (status, err) == ((2, "no step has changed a weight\n") if flag else (0, ""))
    if flag is None:  # in the first steps, and not when an epoch of hours is over
        assert out.index(NO_STEP) < out.index("epoch   1")


@torch.no_grad()
def by_hand(self, batch):
    with torch.enable_grad():
        loss = forward_and_loss(self, batch)
    parameters = [*self.model.parameters()]
    for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p -= 0.1 * gradient
    return {"loss": loss}


@pytest.mark.parametrize("flag", [None, "--check"])
def test_steps_without_the_optimizer_of_the_trainer_are_not_refused(run, flag):
    status, out, err = run({"metrics": [], "trainer.verbosity": 0}, step=by_hand, flag=flag)
    assert (status, err) == (0, "") and out.count(NO_STEP) == 1


@pytest.mark.parametrize(("step", "n"), [(None, 1), (no_step, 10)])
def test_first_steps_are_left_alone_afterwards(run, monkeypatch, step, n):
    seen, batch_size = [], Trainer.batch_size

    def look(self, batch):
        seen.append(len(self.after_step))
        return batch_size(self, batch)

    def plain(batch_size=8):  # of its batches the trainer counts the samples, before each step
        return DataLoader(DigitsDataLoader().dataset, batch_size)

    monkeypatch.setattr(Trainer, "batch_size", look)
    monkeypatch.setattr(data_loaders, "plain", plain, raising=False)
    changes = {"data_loader": {"type": "plain"}, "trainer.monitor": "off", "trainer.epochs": 1}
    status, _, err = run(changes | {"trainer.accumulate_steps": 1, "metrics": []}, step=step)
    assert (status, err) == (0, "") and seen[: n + 2] == [1] * n + [0, 0]


class Thing:
    def state_dict(self):
        return {"now": {1, 2}}


@pytest.mark.parametrize("flag", [None, "--check"])
def test_state_that_a_later_callback_adds_is_refused_in_the_first_step(run, monkeypatch, flag):
    class Late(Callback):
        def on_train_start(self, trainer):
            trainer.state["thing"] = Thing()

    monkeypatch.setattr(extras, "load_callbacks", lambda: [FirstSteps(), Late()])
    status, _, err = run(flag=flag)
    line = "epoch 1, step 1: trainer.state: checkpoint.thing.now is a set: keep tensors and plain "
    assert status == 2 and err.startswith(line) and err.count("\n") == 1


class OwnWriter:
    """A writer has these, and a name beginning with add_."""

    writer, step = None, 0

    def set_step(self, step, mode="train"):
        self.step = step

    def __getattr__(self, name):
        if name.startswith("add_") or name in ("flush", "close"):
            return lambda *_, **__: None
        raise AttributeError(name)


def test_a_writer_of_ones_own_needs_no_more_than_the_contract_says(essential, make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.writer = OwnWriter()
    assert trainer.train()["epoch"] == 1 and trainer.outcome == "finished"


def test_a_check_says_how_long_an_epoch_takes(run):
    _, out, _ = run({"metrics": []}, flag="--check")
    assert re.search(r"^training time +about \S+ s for an epoch of \d+ batches$", out, re.MULTILINE)


@pytest.mark.parametrize("flag", [None, "--check"])
def test_gradients_that_add_up_are_refused(run, flag):
    status, _, err = run({"metrics": []}, step=accumulating, flag=flag)
    assert status == 2 and err == f"epoch 1, step 1: {OLD_GRADIENTS}. No checkpoint yet.\n"


@pytest.fixture
def essential(monkeypatch):
    """Leave the callbacks out that only a full project has."""
    monkeypatch.setattr(extras, "load_callbacks", lambda: [FirstSteps()])


@pytest.mark.parametrize("flag", [None, "--check"])
def test_an_essential_project_warns_of_a_bare_step(run, essential, flag):
    status, out, err = run({"metrics": [], "trainer.verbosity": 0}, step=accumulating, flag=flag)
    assert status == 0 and not err and out.count(OWN_STEP) == 1
    assert flag is None or out.endswith("See the warnings above.\n")


def test_an_optimize_of_ones_own_that_clears_nothing_is_refused(run, monkeypatch):
    def optimize(self, loss, optimizer=None):
        loss.backward()
        self.optimizer.step()

    monkeypatch.setattr(Trainer, "optimize", optimize)
    status, _, err = run()
    assert status == 2 and OLD_GRADIENTS in err


def test_two_backward_passes_of_a_loss_are_explained(run):
    def step(self, batch):
        loss = forward_and_loss(self, batch)
        loss.backward()
        self.optimize(loss)
        return {"loss": loss}

    status, _, err = run(step=step)
    assert status == 2 and err.endswith("leave out loss.backward(). No checkpoint yet.\n")


def test_a_step_that_a_callback_has_put_before_it_stays(make_trainer):
    trainer, seen = make_trainer({"trainer.epochs": 1, "trainer.len_epoch": 15}), []

    class Outer(Callback):
        def on_train_start(self, trainer):
            step = trainer.train_step
            trainer.train_step = lambda batch: seen.append(1) or step(batch)

    trainer.callbacks.append(Outer())
    trainer.train()
    trainer.epochs = 2
    trainer.train()
    assert len(seen) == 15 + 2 * 15  # the second call has put another before it


def test_the_step_is_the_trainers_own_again(make_trainer, run):
    trainer, steps = make_trainer({"trainer.len_epoch": 12}), []

    def own(batch):
        steps.append(len(trainer.optimizer._optimizer_step_pre_hooks))
        return Trainer.train_step(trainer, batch)

    trainer.train_step = own
    trainer.train()
    assert vars(trainer)["train_step"] is own and len(steps) == 24
    assert steps[0] == 2 and set(steps[3:]) == {0}  # no cost after the first steps
    other = make_trainer({"trainer.len_epoch": 12})
    other.train()
    assert "train_step" not in vars(other)
    assert all(map(torch.equal, trainer.model.parameters(), other.model.parameters()))


def f_beta(output, target):
    return torch.zeros(())


f_beta.higher_is_better = True


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("min val_accuracy", "max"),
        ("max val_loss", "min"),
        ("min val_top_k_acc", "max"),
        ("min f_beta", "max"),
        ("max val_frechet", "min"),
        ("min val_accuracy_loss", None),
        ("min val_chicken", None),
    ],
)
def test_a_monitor_that_keeps_the_worst_epoch(make_trainer, monkeypatch, monitor, mode):
    monkeypatch.setattr(metric, "f_beta", f_beta, raising=False)
    changes = {"trainer.monitor": monitor, "metrics": ["accuracy", "f_beta"]}
    assert better(make_trainer(changes)) == mode


def test_the_monitor_is_told_in_check_and_run(run):
    changes = {"trainer.monitor": "min val_accuracy", "trainer.verbosity": 0, "trainer.epochs": 1}
    line = "trainer.monitor = 'min val_accuracy' keeps the worst epoch: did you mean"
    line += " 'max val_accuracy'?\n"
    status, out, _ = run(changes, flag="--check")
    assert status == 0 and line in out and out.endswith("See the warnings above.\n")
    assert run(changes) == (0, line, "")


@pytest.mark.parametrize("monitor", ["min val_los", "max val_acuracy"])
def test_a_slip_in_the_monitor_is_told_at_the_start(run, essential, monitor):
    status, out, err = run({"trainer.monitor": monitor, "trainer.verbosity": 0})
    near = {"min val_los": "val_loss", "max val_acuracy": "val_accuracy"}[monitor]
    assert status == 2 and out == f"trainer.monitor = {monitor!r}: did you mean {near!r}?\n"
    assert "an epoch gives epoch, loss, accuracy" in err and err.count("\n") == 1
    status, out, err = run({"trainer.monitor": monitor}, flag="--check")
    assert status == 2 and f"did you mean {near!r}?" in out and err.count("\n") == 1


def test_a_monitor_without_validation_data_is_told_at_the_start(run, essential):
    changes = {"data_loader.args.validation_split": 0, "trainer.verbosity": 0}
    status, out, err = run(changes)
    assert out == "trainer.monitor = 'min val_loss': there is no validation data\n"
    assert status == 2 and "an epoch gives epoch, loss" in err


def test_a_full_project_refuses_it(run):
    status, out, err = run({"trainer.monitor": "min val_los", "trainer.verbosity": 0})
    line = "trainer.monitor = 'min val_los': an epoch gives no 'val_los'; did you mean 'val_loss'?"
    assert (status, out, err) == (2, "", line + "\n")


@pytest.mark.parametrize("name", ["val_loss", "val_loss_d", "val_top5", "loss", "val_dice_loss"])
def test_no_monitor_is_doubted_for_a_value_of_ones_own(make_trainer, name):
    trainer = make_trainer({"trainer.monitor": f"min {name}", "metrics": ["top_k_acc"]})
    assert not [line for line in check.doubts_of_monitor(trainer) if "worst" not in line]


class Normed(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.BatchNorm1d(16),
            torch.nn.Linear(16, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("n", [193, 192])
def test_check_sees_the_smallest_batch(run, monkeypatch, n):
    monkeypatch.setattr(model, "Normed", Normed, raising=False)
    args = {"n": n, "validation_split": 0}
    changes = {"arch": "Normed", "data_loader.args": args, "trainer.monitor": "off"}
    status, out, err = run(changes, flag="--check")
    assert (status == 0) == (n == 192) and ("batch norm of a single sample" in err) == (n == 193)


def test_the_smallest_batch_of_a_loader():
    def sizes(loader, n=1):
        batches = FewBatches(loader, n, "training")
        counted = [(len(batch), batches.n_samples_in_batch) for (batch,) in batches]
        assert all(n == counted_n for n, counted_n in counted) and len(batches) == len(counted)
        return [n for n, _ in counted]

    data = TensorDataset(torch.arange(70.0))
    assert sizes(BaseDataLoader(data, 32, True, 0, 0)) == [32, 6]
    assert sizes(BaseDataLoader(data, 32, True, 0, 1)) == [32, 6]
    assert sizes(BaseDataLoader(data, 32, True, 0, 0), n=3) == [32, 32, 6]
    assert sizes(BaseDataLoader(data, 32, True, 0, 0, drop_last=True)) == [32, 32]
    assert sizes(BaseDataLoader(data, 32, False, 0, 0, sampler=range(37))) == [32, 5]
    own = [[1, 2, 3], [4], [5, 6]]
    assert sizes(BaseDataLoader(data, 1, False, 0, 0, batch_sampler=own)) == [3, 1]
    valid = BaseDataLoader(data, 32, True, 40, 0).split_validation()
    assert sizes(valid) == [32, 8]


def test_after_the_short_epoch_all_is_as_before(run, monkeypatch):
    seen = []

    class Looks(Callback):
        def on_epoch_end(self, trainer, log):
            loaders = trainer.data_loader, trainer.valid_data_loader
            seen.append(([type(x) for x in loaders], trainer.len_epoch == len(loaders[0])))

    monkeypatch.setattr(extras, "load_callbacks", lambda: [FirstSteps(), Looks()])
    status, _, err = run(flag="--check")
    assert (status, err) == (0, "")
    assert [*map(len, seen)] == [2] and FewBatches not in seen[0][0] and seen[0][1]


def test_a_schedule_of_steps_is_not_compared_with_an_unknown_length(make_trainer):
    trainer = make_trainer(with_schedule("CosineAnnealingLR", {"T_max": 9}, "step"))
    trainer.len_epoch = None
    assert not [*check.schedules(trainer)]
    trainer.len_epoch = 0
    assert not [*check.schedules(trainer)]


def test_a_loader_with_a_timeout_needs_no_number_of_workers(make_config):
    loader = type("Own", (), {"timeout": 9, "__iter__": lambda self: iter(())})()
    FirstSteps().on_data_built(loader, make_config())


ONE_CYCLE = {"max_lr": 0.1, "total_steps": 12}
TOO_SHORT = {"schedulers": ["ConstantLR", {"type": "OneCycleLR"}], "milestones": [3]}
TOO_SHORT["schedulers"][1]["args"] = ONE_CYCLE | {"total_steps": 4}
SCHEDULES = [
    (("SequentialLR", TOO_SHORT, "step"), "the run takes 12 steps: ValueError: Tried to step"),
    (("OneCycleLR", ONE_CYCLE, "step"), "12 steps, lr 4e-07 in the last"),
    (("CosineAnnealingLR", {"T_max": 2}, "epoch"), "2 epochs, lr 0.001 in the last, T_max = 2"),
    (("CosineAnnealingLR", {"T_max": 9}, "epoch"), "2 epochs, lr 0.00194 in the last, T_max = 9"),
    (("ReduceLROnPlateau", {}, "epoch"), "ReduceLROnPlateau"),
]


def with_schedule(kind, args, interval):
    part = {"type": kind, "args": args, "interval": interval}
    return {"data_loader.args": {}, "trainer.accumulate_steps": 1, "lr_scheduler": part}


@pytest.mark.parametrize(("scheduler", "said"), SCHEDULES)
def test_check_goes_to_the_end_of_the_schedule(run, monkeypatch, scheduler, said):
    monkeypatch.setattr(steps, "parts_of", lambda *_: [])  # which sees it before
    status, out, err = run(with_schedule(*scheduler), flag="--check")
    assert said in out + err and status == (2 if "takes 12" in said else 0)
    assert status or out.endswith("All is well.\n")


@pytest.mark.parametrize("flag", [None, "--check"])
@pytest.mark.parametrize(
    ("scheduler", "status", "said"),
    [
        (("OneCycleLR", ONE_CYCLE | {"total_steps": 10}, "step"), 2, "10 steps, but the run 12 ("),
        (("OneCycleLR", {"max_lr": 1, "total_steps": 1}, "epoch"), 2, "1 steps, but the run 2 ("),
        (("CosineAnnealingLR", {"T_max": 1}, "epoch"), 0, "trainer.epochs = 2): the rate rises"),
        (("CosineAnnealingLR", {"T_max": 12}, "step"), 0, ""),
    ],
)
def test_a_schedule_that_ends_before_the_run(run, flag, scheduler, status, said):
    changes = with_schedule(*scheduler) | {"trainer.verbosity": 0}
    found, out, err = run(changes, flag=flag)
    assert found == status and said in (err if status else out)
    assert ("but the run" in out + err) == bool(said)


@pytest.mark.parametrize("flag", [None, "--check"])
def test_an_essential_project_looks_at_the_length_of_a_schedule(run, essential, flag):
    schedule = with_schedule("CosineAnnealingLR", {"T_max": 1}, "epoch")
    status, out, err = run(schedule | {"trainer.verbosity": 0}, flag=flag)
    line = "lr_scheduler.args.T_max: the schedule has 1 steps, but the run 2 (interval = epoch, "
    line += "trainer.epochs = 2): the rate rises again\n"
    assert (status, err) == (0, "") and out.count(line) == 1
    assert "All is well" not in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"schedulers": ["LinearLR", {"type": "CosineAnnealingLR", "args": {"T_max": 4}}]}, 4),
        ({"schedulers": ["LinearLR", {"type": "CosineAnnealingLR", "args": {"T_max": 9}}]}, None),
        ({"schedulers": [{"type": "CosineAnnealingLR", "args": {"T_max": 3}}, "LinearLR"]}, None),
        ({"schedulers": [{"type": "OneCycleLR", "args": ONE_CYCLE}, "LinearLR"]}, None),
    ],
)
def test_the_parts_of_a_schedule_are_looked_at(run, args, said):
    schedule = with_schedule("SequentialLR", args | {"milestones": [3]}, "step")
    status, out, _ = run(schedule | {"trainer.verbosity": 0})
    expected = f"schedulers.1.args.T_max: the schedule has {said} steps, but the run 9 ("
    assert status == 0 and (expected in out if said else out == "")


@pytest.mark.parametrize(("t_max", "said"), [(3, True), (2, False)])
def test_a_schedule_that_goes_on_after_the_run_is_told(run, t_max, said):
    schedule = with_schedule("CosineAnnealingLR", {"T_max": t_max}, "epoch")
    status, out, _ = run(schedule | {"trainer.verbosity": 1})
    line = f"T_max: the schedule has {t_max} steps, but the run 2 (interval = epoch"
    assert status == 0 and (line in out) == said


def test_check_is_a_run_in_a_place_of_its_own(run, make_config, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    seen, train_epoch = [], Trainer._train_epoch

    def look(self, epoch):
        [saved] = self.config.runs_dir.parent.iterdir()
        seen.append(
            (saved.name, self.checkpoint_dir.parent.parent == saved, dict(check.os.environ))
        )
        return train_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "_train_epoch", look)
    status, out, _ = run({"trainer.report": True}, flag="--check")
    assert status == 0 and out.endswith("All is well.\n") and re.search(r"^report +0", out, re.M)
    [(name, is_inside, environment)] = seen
    assert name.startswith(".check-") and is_inside and environment["WANDB_MODE"] == "offline"
    assert re.search(rf"^sqlite:///.+/{name}/.+/mlflow.db$", environment["MLFLOW_TRACKING_URI"])
    assert not make_config().runs_dir.parent.exists()


def test_what_is_no_loader_is_named(run, monkeypatch):
    class Digits(Dataset):
        """Samples, which make no batches by themselves."""

        def __init__(self, batch_size=32):
            self.data = DigitsDataLoader().dataset

        def __getitem__(self, index):
            return self.data[index]

    monkeypatch.setattr(data_loaders, "Digits", Digits, raising=False)
    changes = {"data_loader": {"type": "Digits"}}
    line = "data_loader.type = 'Digits': a Digits has no __iter__, so it gives no batches\n"
    assert run(changes) == run(changes, flag="--check") == (2, "", line)


def test_a_loader_of_torch_is_checked(run, monkeypatch):
    def plain(batch_size=32):
        return DataLoader(DigitsDataLoader().dataset, batch_size)

    monkeypatch.setattr(data_loaders, "plain", plain, raising=False)
    changes = {"data_loader": {"type": "plain"}, "trainer.monitor": "off"}
    status, out, err = run(changes, flag="--check")
    assert (status, err) == (0, "") and out.endswith("All is well.\n"), out


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_step_that_is_not_finite_in_a_check_names_no_folder_that_is_gone(run, policy):
    changes = {"trainer.non_finite": policy, "trainer.max_skipped": 0}
    status, _, err = run(changes, lambda x, y: (x * float("nan"), y), flag="--check")
    assert status == 1 and "the step was not taken" in err and ".check-" not in err


@pytest.mark.parametrize("flag", [None, "--check"])
def test_batches_of_numpy_arrays_are_one_line(run, monkeypatch, flag):
    def arrays(batch):
        return tuple(map(np.stack, zip(*batch, strict=True)))

    def loader(batch_size=32):
        images, labels = DigitsDataLoader(validation_split=0).dataset.tensors
        data = [*zip(images.numpy(), labels.numpy(), strict=True)]
        return BaseDataLoader(data, 32, True, 0, 0, collate_fn=arrays)

    monkeypatch.setattr(data_loaders, "Arrays", loader, raising=False)
    changes = {"data_loader": {"type": "Arrays", "args": {}}, "trainer.monitor": "off"}
    status, _, err = run(changes, flag=flag)
    assert status == 2 and err.count("\n") == 1 and "the batch is ndarray, ndarray: train_s" in err


def ragged(n, is_dict):
    image = torch.zeros(1, 8, 8 + n % 2)
    return {"x": image, f"y{n % 2}": 0} if is_dict else (image, 0)


@pytest.mark.parametrize("flag", [None, "--check"])
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("is_dict", [False, True])
def test_samples_that_make_no_batch_are_one_line(run, monkeypatch, flag, workers, is_dict):
    def loader(batch_size=32):
        return BaseDataLoader([ragged(n, is_dict) for n in range(64)], 32, True, 0, workers)

    monkeypatch.setattr(data_loaders, "Ragged", loader, raising=False)
    changes = {"data_loader": {"type": "Ragged", "args": {}}, "trainer.monitor": "off"}
    status, _, err = run(changes, flag=flag)
    assert status == 2 and err.count("\n") == 1 and err.startswith("epoch 1, step 0: ")
    assert re.search(r"(Key|Runtime)Error: .*: give the data loader a collate_fn that", err), err


@pytest.mark.parametrize("name", ["cuda:7", "gpu:7"])
def test_a_device_that_is_not_there_is_told_before_data_are_read(run, monkeypatch, name):
    def loader():
        raise AssertionError("data are read")

    monkeypatch.setattr(data_loaders, "Late", loader, raising=False)
    status, out, err = run({"data_loader": {"type": "Late", "args": {}}, "device": name})
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith(f"command line: device: device {name!r} is not there; this mac")


def test_a_device_that_is_not_there_hides_no_other_mistake(run):
    _, _, err = run({"device": "cuda:7", "optimizer.args.lrr": 1})
    assert err.count("\n") == 2 and "'cuda:7' is not there" in err and "args.lrr: unknown" in err


def test_callbacks_are_made_once_in_a_run(make_config, monkeypatch):
    made = []

    class Counted(Callback):
        def __init__(self):
            made.append(self)

    monkeypatch.setattr(extras, "load_callbacks", lambda: [Counted()])
    trainer = build_trainer(make_config())
    assert trainer.callbacks == made and len(made) == 1


def test_a_metric_that_may_be_in_the_full_project_says_so_in_few_words(make_config, monkeypatch):
    monkeypatch.setattr("train.modules_of", lambda key: [])
    monkeypatch.setattr("utils.extras.modules_of", lambda key: [])
    with pytest.raises(UserError) as caught:
        build_trainer(make_config({"metrics": ["acuracy"]}))
    line = "there is no 'acuracy' in model.metric; did you mean 'accuracy'?; more are in the full"
    assert str(caught.value).endswith(f"{line} project: see README.md")


def of_a_list(self, batch):
    [[1]][0].mean()


def of_numpy(self, batch):
    np.arange(3)[7]


@pytest.mark.parametrize("step", [of_a_list, of_numpy])
def test_an_error_of_the_users_own_code_keeps_its_traceback(run, monkeypatch, step):
    """Its words are those of other errors, on which there is advice."""
    monkeypatch.setattr("utils.errors.PROJECT_DIR", Path(__file__).resolve().parent)
    with pytest.raises((AttributeError, IndexError)):
        run({"metrics": []}, step=step)


def of_a_dict(self, batch):
    loss = self.criterion(self.model(batch["x"]), batch["y"])
    self.optimize(loss)
    return {"loss": loss}


@pytest.mark.parametrize("name", ["epoch", "lr"])
@pytest.mark.parametrize("flag", [None, "--check"])
def test_a_value_with_a_name_of_the_logs_own_is_refused(run, name, flag):
    def named(self, batch):
        return {name: 3.0, **Trainer.train_step(self, batch)}

    status, _, err = run({"metrics": []}, step=named, flag=flag)
    line = f"epoch 1, step 1: train_step: the log has a value '{name}' of its own. No checkpoint"
    assert status == 2 and err.startswith(line) and err.count("\n") == 1


def test_a_valid_step_that_was_forgotten_is_called_so(run):
    changes = {"metrics": [], "trainer.epochs": 1}
    status, _, err = run(changes, lambda x, y: {"x": x, "y": y, "z": y}, step=of_a_dict)
    assert status == 2 and "valid_step takes (input, target)" in err and err.count("\n") == 1


def test_a_warning_is_seen_by_a_check(run):
    def warned(self, batch):
        warnings.warn("the shapes are not the same", stacklevel=1)
        loss = self.criterion(self.model(batch[0]), batch[1])
        self.optimize(loss)
        return {"loss": loss}

    with warnings.catch_warnings():
        warnings.simplefilter("default")  # they are errors in these tests
        status, out, _ = run({"metrics": []}, step=warned, flag="--check")
    assert status == 0 and "the shapes are not the same" in out
    assert out.endswith("See the warnings above.\n")
