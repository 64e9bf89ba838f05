"""Each switch gives, bit for bit, the weights of a loop written by hand."""

import os
import signal
import warnings
from collections import Counter
from itertools import islice

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from base.base_data_loader import to_device
from tools.compare import first_difference
from train import build_trainer
from trainer.trainer import Trainer
from utils import UserError, resume
from utils.errors import RunError
from utils.optim import learning_rates

SHORT = {
    "trainer.epochs": 1,
    "trainer.len_epoch": None,
    "trainer.monitor": "off",
    "lr_scheduler": None,
    "data_loader.args.batch_size": 48,  # 300 images are 6 batches and 12 images more
    "data_loader.args.validation_split": 1200,
}


def in_groups(batches, size):
    batches = iter(batches)
    while group := list(islice(batches, size)):
        yield group


@pytest.fixture
def both(make_config):
    """A trained trainer, and the same parts at the beginning, for a loop by hand."""

    def make(changes=None):
        trainers = [build_trainer(make_config(SHORT | (changes or {}))) for _ in range(2)]
        for trainer in trainers:
            trainer.valid_data_loader, trainer.do_validation = None, False
        torch.manual_seed(1)
        trainers[0].train()
        torch.manual_seed(1)
        by_hand = trainers[1]
        by_hand.model.train()
        by_hand.data_loader = OnDevice(by_hand.data_loader, by_hand.device)
        return trainers

    return make


class OnDevice:
    """A loader whose batches are on the device."""

    def __init__(self, loader, device):
        self.loader, self.device = loader, device

    def __iter__(self):
        return (to_device(batch, self.device) for batch in self.loader)


def train_by_hand(trainer, before_step=lambda: None, after_step=lambda: None):
    model, optimizer = trainer.model, trainer.optimizer
    for data, target in trainer.data_loader:
        optimizer.zero_grad()
        cross_entropy(model(data), target).backward()
        before_step()
        optimizer.step()
        after_step()


def assert_same(trained, by_hand):
    assert first_difference(trained.model.state_dict(), by_hand.model.state_dict()) is None
    states = (one.optimizer.state_dict()["state"] for one in (trained, by_hand))
    assert first_difference(*states) is None


def test_with_all_switches_off(both):
    trained, by_hand = both({"trainer.epochs": 15})
    for _ in range(15):  # 105 steps
        train_by_hand(by_hand)
    assert_same(trained, by_hand)


def test_accumulated_batches_weigh_as_their_samples(both):
    trained, by_hand = both({"trainer.accumulate_steps": 3})
    steps = 0
    for batches in in_groups(by_hand.data_loader, 3):  # 3, 3 and, with 12 images alone, 1
        total = sum(len(target) for _, target in batches)
        by_hand.optimizer.zero_grad()
        for data, target in batches:
            loss = cross_entropy(by_hand.model(data), target)
            (loss * (len(target) / total)).backward()
        by_hand.optimizer.step()
        steps += 1
    assert trained.step == steps == 3
    assert_same(trained, by_hand)


def test_accumulated_batches_of_one_size_are_divided_by_their_number(both):
    trained, by_hand = both({"trainer.accumulate_steps": 4, "trainer.len_epoch": 6})
    for batches in in_groups(list(by_hand.data_loader)[:6], 4):  # 4 and 2
        by_hand.optimizer.zero_grad()
        for data, target in batches:
            (cross_entropy(by_hand.model(data), target) / len(batches)).backward()
        by_hand.optimizer.step()
    assert trained.step == 2
    assert_same(trained, by_hand)


def test_clipped_gradients(both):
    trained, by_hand = both({"trainer.clip_grad_norm": 0.5})
    parameters = list(by_hand.model.parameters())
    norms = []
    train_by_hand(
        by_hand,
        lambda: norms.append(torch.nn.utils.clip_grad_norm_(parameters, 0.5)),
    )
    assert max(norms) > 0.5
    assert_same(trained, by_hand)
    assert trained.train_metrics.avg("grad_norm") == pytest.approx(float(sum(norms)) / len(norms))


def test_a_moving_average_is_kept_validated_and_resumed(both, make_config):
    trained, by_hand = both({"trainer.ema": 0.9})
    average = AveragedModel(by_hand.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    train_by_hand(by_hand, after_step=lambda: average.update_parameters(by_hand.model))
    assert_same(trained, by_hand)
    assert first_difference(trained.state["ema"].state_dict(), average.state_dict()) is None
    data, target = next(iter(by_hand.data_loader))
    expected = cross_entropy(average.module.eval()(data), target)
    assert trained.evaluate([(data, target)])["loss"] == pytest.approx(expected.item())
    last = trained.checkpoint_dir / "last.pth"
    resumed = build_trainer(make_config(SHORT | {"trainer.ema": 0.9}, resume=last))
    resumed.train()
    assert first_difference(resumed.state["ema"].state_dict(), average.state_dict()) is None


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_half_precision(both, precision, dtype):
    changes = {"trainer.precision": precision, "trainer.clip_grad_norm": 1.0}
    trained, by_hand = both(changes)
    model, optimizer = by_hand.model, by_hand.optimizer
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16")
    for data, target in by_hand.data_loader:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype):
            output = model(data)
            loss = cross_entropy(output, target)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    assert output.dtype == dtype
    assert_same(trained, by_hand)
    assert trained.scaler.state_dict() == scaler.state_dict()


def test_half_precision_with_two_optimizer_steps_on_a_batch(make_config, monkeypatch):
    class Twice(Trainer):
        def train_step(self, batch):
            data, target = batch
            for _ in range(2):  # the second forward must see the weights after the first step
                self.optimize(self.criterion(self.model(data), target))
            return {}

    monkeypatch.setattr("trainer.Trainer", Twice)
    changes = SHORT | {"trainer.precision": "bf16", "arch.args.dropout": 0.0}
    trained, by_hand = (build_trainer(make_config(changes)) for _ in range(2))
    trained.valid_data_loader, trained.do_validation = None, False
    trained.train()
    by_hand.model.train()
    for data, target in by_hand.data_loader:
        for _ in range(2):
            by_hand.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = cross_entropy(by_hand.model(data), target)
            loss.backward()
            by_hand.optimizer.step()
    assert_same(trained, by_hand)


def test_tf32_is_for_a_run_that_asks_for_it(make_trainer):
    for precision, expected in (("tf32", "high"), ("fp32", "highest")):
        make_trainer({"trainer.precision": precision})
        assert torch.get_float32_matmul_precision() == expected


def test_groups_of_parameters_by_pattern(both):
    groups = {"*.bias": {"weight_decay": 0.0}, "fc*": {"lr": 0.01}}
    adamw = {"type": "AdamW", "args": {"lr": 0.001, "weight_decay": 0.1}, "groups": groups}
    trained, by_hand = both({"optimizer": adamw})
    named = dict(by_hand.model.named_parameters())
    options = {
        name: {
            "weight_decay": 0.0 if name.endswith(".bias") else 0.1,
            "lr": 0.01 if name.startswith("fc") else 0.001,
        }
        for name in named
    }
    optimizer = torch.optim.AdamW([{"params": [p], **options[name]} for name, p in named.items()])
    by_hand.optimizer = optimizer
    train_by_hand(by_hand)
    weights = (one.model.state_dict() for one in (trained, by_hand))
    assert first_difference(*weights) is None
    assert sorted(len(group["params"]) for group in trained.optimizer.param_groups) == [2, 2, 2, 2]
    names = {"lr": 0.001, "lr_*.bias": 0.001, "lr_*.bias fc*": 0.01, "lr_fc*": 0.01}
    assert learning_rates(trained.optimizer) == pytest.approx(names)


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ({"nothing.*": {"lr": 0.1}}, r"optimizer.groups: no parameter .* fits 'nothing\.\*'"),
        ({"*.bias": {"weight_decy": 0}}, r"optimizer\.groups\.\*\.bias\.weight_decy: unknown key"),
        ({"*.bias": {"lr": "0.1"}}, r"optimizer\.groups\.\*\.bias\.lr = .0\.1.: must be a number"),
    ],
)
def test_a_mistake_in_groups_is_named(make_trainer, groups, line):
    with pytest.raises(UserError, match=line):
        make_trainer({"optimizer.groups": groups})


def test_accumulation_is_for_one_optimizer(make_trainer):
    several = {"conv1": {"type": "SGD"}, "fc1": {"type": "SGD"}}
    changes = {"optimizer": several, "lr_scheduler": None, "trainer.accumulate_steps": 2}
    with pytest.raises(UserError, match="trainer.accumulate_steps: goes with one optimizer"):
        make_trainer(changes)


WARM_UP = {
    "type": "SequentialLR",
    "interval": "step",
    "args": {
        "milestones": [3],
        "schedulers": [
            {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 3}},
            {"type": "CosineAnnealingLR", "args": {"T_max": 4}},
        ],
    },
}


# SequentialLR of torch 2.6 calls its own schedulers in the way that torch deprecates
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
def test_warm_up_and_then_a_schedule(both):
    trained, by_hand = both({"lr_scheduler": WARM_UP})
    warm_up = LinearLR(by_hand.optimizer, 0.1, total_iters=3)
    cosine = CosineAnnealingLR(by_hand.optimizer, 4)
    schedule = SequentialLR(by_hand.optimizer, [warm_up, cosine], milestones=[3])
    train_by_hand(by_hand, after_step=schedule.step)
    assert_same(trained, by_hand)
    assert trained.lr_scheduler.state_dict() == schedule.state_dict()


def test_schedules_that_work_at_the_same_time(make_trainer):
    inner = [{"type": "ConstantLR", "args": {"factor": 0.5}}, {"type": "StepLR"}]
    chained = {"type": "ChainedScheduler", "args": {"schedulers": inner}}
    inner[1]["args"] = {"step_size": 1, "gamma": 0.1}
    trainer = make_trainer({"lr_scheduler": chained, "optimizer.args.lr": 1.0})
    assert trainer.lr_scheduler.get_last_lr() == [0.5]
    with pytest.raises(UserError, match="schedulers: is missing"):
        make_trainer({"lr_scheduler": "ChainedScheduler"})


def test_a_mistake_in_a_schedule_within_a_schedule_is_named(make_trainer):
    path = "lr_scheduler.args.schedulers"
    inner = [{"type": "LinearLR", "args": {"total_itres": 3}}, {"typ": "CosineAnnealingLR"}]
    with pytest.raises(UserError) as error:
        make_trainer({"lr_scheduler": WARM_UP, path: inner})
    lines = str(error.value)
    assert f"{path}.0.args.total_itres: unknown key; did you mean 'total_iters'?" in lines
    assert f"{path}.1.typ: unknown key; did you mean 'type'?" in lines


def test_channels_last(both):
    trained, by_hand = both({"trainer.channels_last": True})
    convolution = next(p for p in trained.model.parameters() if p.dim() == 4 and p.shape[1] > 1)
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    train_by_hand(by_hand)
    assert_same(trained, by_hand)


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
FUSED = {"type": "Adam", "args": {"lr": 0.002, "fused": True}}


def set_sync_debug_mode(mode):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a prototype
        torch.cuda.set_sync_debug_mode(mode)


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_waits_for_the_gpu_in_a_step(make_trainer, precision):
    changes = {"device": "cuda", "trainer.clip_grad_norm": 1.0, "trainer.ema": 0.9}
    changes |= {"optimizer": FUSED, "trainer.precision": precision, "trainer.log_step": 1000}
    trainer = make_trainer(changes | {"trainer.len_epoch": 5})
    trainer.do_validation, trainer.asks_each_step = False, True
    modes = ["error"] * 4 + ["default"]  # from the second step on, which finds the state made
    trainer._save_or_stop_if_due = lambda: set_sync_debug_mode(modes[trainer.step - 1])
    try:
        trainer._train_epoch(1)
    finally:
        set_sync_debug_mode("default")
    assert trainer.step == 5


class Operations(TorchDispatchMode):
    """While entered, counts what a device would be asked to do, by name."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count[str(func)] += func not in (torch.ops.aten.detach.default,)
        return func(*args, **(kwargs or {}))


def test_a_step_asks_a_gpu_for_one_number_more_than_a_loop_by_hand(make_trainer, monkeypatch):
    trainer = make_trainer({"optimizer": FUSED, "metrics": []})
    [(batch, n, _)] = islice(trainer._epoch_batches(), 1)
    data, target = to_device(batch, trainer.device)
    model, optimizer = trainer.model, trainer.optimizer
    trainer.checks_each_step = False  # as on a GPU, for which neither waits
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)

    def by_hand(*_):
        optimizer.zero_grad()
        cross_entropy(model(data), target).backward()
        optimizer.step()

    by_hand()  # makes the state of the optimizer
    found = []
    for step in (by_hand, trainer.train_step):
        with Operations() as operations:
            values = step((data, target))
        found.append(operations.count)
    assert found[1] - found[0] == {"aten.add.Tensor": 1} and not found[0] - found[1]
    with Operations() as operations:
        trainer.train_metrics.add(values, n)
    assert not +operations.count


@on_gpu
def test_a_gpu_tells_a_bad_step_with_the_next_log_line(make_trainer):
    changes = {"device": "cuda", "optimizer": FUSED, "trainer.log_step": 4, "trainer.len_epoch": 8}
    trainer, losses = make_trainer(changes), []

    def criterion(output, target):
        losses.append(torch.nn.functional.cross_entropy(output, target))
        return losses[-1] * (float("nan") if len(losses) == 3 else 1)

    trainer.criterion = criterion
    with pytest.raises(RunError, match="or a weight is not finite since the last log line"):
        trainer.train()
    assert len(losses) == 4 and not [*trainer.checkpoint_dir.glob("*.pth")]


@on_gpu
def test_a_gpu_saves_no_bad_weights(make_trainer):
    trainer = make_trainer({"device": "cuda", "trainer.len_epoch": 2})
    trainer.after_step.append(lambda: next(trainer.model.parameters()).data.fill_(float("inf")))
    trainer._valid_epoch = lambda epoch: {"loss": 0.0}
    trainer.check_loss = lambda loss: None  # so that the weights alone can tell it
    with pytest.raises(RunError, match="or a weight is not finite since the last log line"):
        trainer.train()
    assert not [*trainer.checkpoint_dir.glob("*.pth")]


def test_a_signal_during_validation_saves_the_trained_weights_not_their_average(make_trainer):
    trainer = make_trainer({"trainer.ema": 0.9})
    trained = {name: p.detach() for name, p in trainer.model.named_parameters()}  # as they change
    valid_step = trainer.valid_step

    def step_and_signal(batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return valid_step(batch)

    trainer.valid_step = step_and_signal
    with pytest.raises(RunError, match="SIGTERM"):
        trainer.train()
    saved = resume.load(trainer.checkpoint_dir / "last.pth")["state_dict"]
    assert all(torch.equal(saved[name], weight) for name, weight in trained.items())


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
def test_a_compiled_model_learns_the_same_and_keeps_its_names(both):
    torch._dynamo.reset()
    trained, by_hand = both({"trainer.compile": {"backend": "aot_eager"}, "trainer.epochs": 2})
    for _ in range(2):
        train_by_hand(by_hand)
    states = (one.model.state_dict() for one in (trained, by_hand))
    assert all(not name.startswith("_orig") for name in trained.model.state_dict())
    for one, other in zip(*(state.values() for state in states), strict=True):
        torch.testing.assert_close(one, other)
