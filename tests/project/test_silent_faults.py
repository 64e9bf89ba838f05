"""What would else go wrong without a word: what is drawn, counted, kept and compared."""

import csv
import logging
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torch.utils.data.dataloader import default_collate

from base import BaseDataLoader
from data_loader import data_loaders
from digits_example import CONFIG
from parse_config import ConfigParser
from test import build_test_loader, build_trained
from test import main as evaluate
from tools.advice import begins_anew
from tools.check import FirstSteps
from train import CommandLine, build_trainer
from trainer.trainer import Trainer
from utils import UserError, resume
from utils.command_line import StopSignals
from utils.errors import RunError

WHOLE = {"trainer.monitor": "off", "trainer.epochs": 1, "trainer.len_epoch": None}


class Rows(Dataset):
    """Sample i is i and a random number."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor(index), torch.rand(())


class Whole(Rows):
    """Makes whole batches, with the random numbers of whoever asks."""

    def __getitems__(self, indices):
        return torch.tensor(list(indices)), torch.rand(len(indices))


def mixed(samples):
    """A batch with numbers that the function has drawn by itself."""
    drawn = torch.rand(()), torch.tensor(np.random.random()), torch.tensor(random.random())
    return (*default_collate(samples), torch.stack(drawn).repeat(len(samples), 1))


def as_it_is(batch):
    return batch


def passes(loader, n=2):
    return [batch for _ in range(n) for batch in loader]


def same(batches, others):
    pairs = [pair for a, b in zip(batches, others, strict=True) for pair in zip(a, b, strict=True)]
    return all(torch.equal(one, other) for one, other in pairs)


def test_what_collate_fn_draws_is_of_the_batch_for_any_number_of_workers():
    ours, theirs = (passes(BaseDataLoader(Rows(), 4, True, 0, n, mixed)) for n in (0, 2))
    assert same(ours, theirs)
    drawn = torch.stack([batch[2][0] for batch in ours])
    assert all(len(column.unique()) == 6 for column in drawn.T)  # none comes twice
    loader = BaseDataLoader(Rows(), 4, True, 0, 0, mixed)
    next(batches := iter(loader))
    state = loader.state_dict()
    del batches
    resumed = BaseDataLoader(Rows(), 4, True, 0, 2, mixed)
    resumed.load_state_dict(state)
    assert same([*resumed], ours[1:3])


@pytest.mark.parametrize("wrapped", [as_it_is, lambda dataset: Subset(dataset, range(12))])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_of_whole_batches_may_draw_by_itself(wrapped, workers):
    loader = BaseDataLoader(wrapped(Whole()), 4, False, 0, workers, as_it_is)
    drawn = torch.cat([batch[1] for batch in passes(loader)])
    assert len(drawn.unique()) == 24


@pytest.mark.parametrize("workers", [0, 2])
def test_the_digits_of_the_starter_in_a_subset_are_moved_anew(workers):
    if not hasattr(data_loaders, "MnistDataset"):
        pytest.skip("the starter has others")
    images = np.zeros((8, 28, 28), np.uint8)
    images[:, 12:16, 12:16] = 255
    dataset = data_loaders.MnistDataset(images, np.zeros(8), augment=True)
    loader = BaseDataLoader(Subset(dataset, range(8)), 4, False, 0, workers, as_it_is)
    assert len({batch[0].numpy().tobytes() for batch in passes(loader, 3)}) == 6


def test_a_sample_that_a_sampler_gives_again_is_not_the_same_again():
    def loader(workers):
        weights = WeightedRandomSampler([9.0] + [0.1] * 11, 40, generator=torch.Generator())
        return BaseDataLoader(Rows(), 4, False, 0, workers, sampler=weights)

    ours, theirs = (passes(loader(n)) for n in (0, 2))
    assert same(ours, theirs)
    of_first = [x for index, drawn in ours for x in drawn[index == 0].tolist()]
    assert len(of_first) > 20 and len({*of_first}) == len(of_first)


def test_a_sampler_within_a_batch_sampler_is_of_the_epoch_too():
    def batches():
        weights = WeightedRandomSampler([1.0] * 12, 12, generator=torch.Generator())
        own = BatchSampler(weights, 4, drop_last=False)
        loader = BaseDataLoader(Rows(), 1, False, 0, 0, batch_sampler=own)
        return [index for index, _ in passes(loader)]

    ours = batches()
    assert all(map(torch.equal, ours, batches()))
    assert not all(map(torch.equal, ours[:3], ours[3:]))


def test_a_generator_of_the_data_set_itself_is_told():
    loader = BaseDataLoader(Rows(), 4, True, 0, 0)
    loader.dataset.rng = np.random.default_rng(0)
    line = "dataset: rng begins anew in a resumed run: draw from torch.rand, say"
    assert [*begins_anew(loader)] == [line]


def test_a_metric_is_not_called_as_the_validation_calls_one(make_config):
    with pytest.raises(UserError, match="metrics.0: the name 'val_loss' is taken"):
        build_trainer(make_config({"metrics": [{"type": "accuracy", "name": "val_loss"}]}))


class Holes(Dataset):
    """Sample i is i; the first three are missing."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return None if index < 3 else (torch.ones(1) * index, torch.zeros(1))


def without_holes(samples):
    return default_collate([one for one in samples if one is not None])


def test_samples_that_collate_fn_leaves_out_have_no_weight(make_config):
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    loader = BaseDataLoader(Holes(), 4, False, 0, 0, without_holes)
    config = make_config(WHOLE)
    trainer = Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", loader)
    x = torch.arange(3.0, 12.0)[:, None]
    by_hand = nn.functional.mse_loss(model(x), torch.zeros(9, 1)).item()
    assert trainer.train()["loss"] == pytest.approx(by_hand)


def test_a_batch_with_its_samples_in_the_second_dimension_has_as_many_as_indices():
    def time_first(samples):
        return torch.stack([torch.zeros(3)] * len(samples), dim=1)

    loader = BaseDataLoader(Rows(), 4, False, 0, 0, time_first)
    assert [loader.n_samples_in_batch for batch in loader if batch.shape == (3, 4)] == [4, 4, 4]


def test_a_metric_that_gives_a_pair_is_no_mean_of_some_samples(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train_metrics.functions["pair"] = lambda output, target: (torch.ones(()), 3)
    with pytest.raises(RunError, match="metrics: pair gives a tuple: a metric is to give one num"):
        trainer.train()


class Remembering(nn.CrossEntropyLoss):
    """A loss with a state, how often it was asked, by which it grows."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output, target):
        self.calls += 1
        return super().forward(output, target) * (1 + self.calls / 100)


def test_the_state_of_a_loss_is_kept(make_config, monkeypatch):
    monkeypatch.setattr("model.loss.Remembering", Remembering, raising=False)
    changes = {"loss": "Remembering", "trainer.monitor": "off", "lr_scheduler": None}
    straight = build_trainer(make_config(changes))
    straight.train()
    stopped = build_trainer(make_config(changes | {"trainer.epochs": 1}))
    stopped.train()
    last = stopped.checkpoint_dir / "last.pth"
    resumed = build_trainer(make_config(changes, resume=last))
    resumed.train()
    weights = straight.model.state_dict(), resumed.model.state_dict()
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    _, _, criterion, _, _ = build_trained(make_config(changes, resume=last))
    assert criterion.calls == straight.criterion.calls == resumed.criterion.calls


class Two(nn.Module):
    def __init__(self, names):
        super().__init__()
        for name in names:
            setattr(self, name, nn.Linear(1, 1))

    def forward(self, x):
        return self.a(x) + self.b(x)


def test_layers_in_another_order_are_refused_and_not_given_the_moments_of_others(make_config):
    def trainer(names, **kwargs):
        model = Two(names)
        optimizer = torch.optim.Adam(model.parameters(), 0.1)
        batches = [(torch.ones(2, 1), torch.zeros(2, 1))]
        config = make_config(WHOLE, **kwargs)
        return Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", batches)

    first = trainer("ab")
    first.train()
    with pytest.raises(UserError, match="the model has its weights in another order: .*'a.weight'"):
        trainer("ba", resume=first.checkpoint_dir / "last.pth").train()


def test_a_random_split_in_a_loader_is_that_of_the_training(make_config, monkeypatch):
    class Split(BaseDataLoader):
        def __init__(self, batch_size=4, shuffle=True, validation_split=0.0, training=True):
            parts = random_split(TensorDataset(torch.arange(20.0)[:, None]), [0.5, 0.5])
            super().__init__(parts[not training], batch_size, shuffle, validation_split, 0)

    monkeypatch.setattr(data_loaders, "Split", Split, raising=False)
    changes = {"data_loader": {"type": "Split", "args": {}}, "trainer.monitor": "off"}
    trainer = build_trainer(make_config(changes))
    torch.rand(7)
    held_out = build_test_loader(make_config(changes)).dataset.indices
    assert not {*held_out} & {*trainer.data_loader.dataset.indices} and len(held_out) == 10


def test_a_plain_loader_of_torch_is_tested_too(make_config, monkeypatch, capsys):
    def plain(batch_size=64, shuffle=True, validation_split=0.0, training=True):
        loader = data_loaders.DigitsDataLoader(batch_size, shuffle, 0, training=training)
        return DataLoader(loader.dataset, batch_size)

    monkeypatch.setattr(data_loaders, "plain", plain, raising=False)
    changes = {"data_loader": {"type": "plain", "args": {}}, "trainer.monitor": "off"}
    trainer = build_trainer(make_config(changes))
    trainer.train()
    evaluate(["-r", str(trainer.checkpoint_dir / "last.pth"), "-d", "cpu"])
    assert "297 test samples" in capsys.readouterr().out


def test_validation_data_of_another_number_are_refused():
    with pytest.raises(UserError, match="valid_dataset has 5 samples, not 12"):
        BaseDataLoader(Rows(), 4, True, 0.5, 0, valid_dataset=Subset(Rows(), range(5)))


class Noise(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.rand(1, 8, 8), 3


def test_validation_by_a_loader_of_ones_own_goes_on_in_a_resumed_run(make_config):
    def make(epochs, **kwargs):
        trainer = build_trainer(make_config({"trainer.epochs": epochs}, **kwargs))
        trainer.valid_data_loader = BaseDataLoader(Noise(), 2, True, 0, 0)
        trainer.train()
        with (trainer.checkpoint_dir / "metrics.csv").open(encoding="utf-8") as file:
            return trainer, [row["val_loss"] for row in csv.DictReader(file)]

    _, straight = make(3)
    stopped, _ = make(1)
    _, resumed = make(3, resume=stopped.checkpoint_dir / "last.pth")
    assert straight == resumed and len({*straight}) == 3


def test_a_monitored_value_that_is_nan_is_told(make_trainer, caplog):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.valid_step = lambda batch: {"loss": torch.tensor(float("nan"))}
    trainer.train()
    assert "val_loss is nan: this epoch cannot be the best" in caplog.messages


def test_an_epoch_without_the_monitored_value_is_not_lost(make_trainer, make_config):
    trainer = make_trainer({"trainer.monitor": "min val_loss"})
    trainer.valid_step = lambda batch: {"error": torch.zeros(())}
    trainer.callbacks = [FirstSteps()]
    with pytest.raises(RunError, match="an epoch gives epoch, loss.*val_error"):
        trainer.train()
    last = trainer.checkpoint_dir / "last.pth"
    resumed = build_trainer(make_config({"trainer.monitor": "min val_error"}, resume=last))
    resumed.valid_step = trainer.valid_step
    assert resumed.train()["epoch"] == 2 and resume.load(last)["step"] == 8


def test_auto_tells_that_a_run_does_not_take_a_file_that_has_changed(make_config, tmp_path, caplog):
    stopped = build_trainer(make_config({"trainer.save_every.steps": 1}))
    stopped.after_step.append(lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(RunError, match="stopped by SIGTERM"):
        stopped.train()
    file, last = tmp_path / "config.json", stopped.checkpoint_dir / "last.pth"
    file.write_text(Path(CONFIG).read_text(encoding="utf-8"), encoding="utf-8")
    args = ["-c", str(file), "-r", "auto", f"trainer.save_dir={tmp_path / 'saved'}"]
    for seconds in (-5, 5):  # after the checkpoint
        caplog.clear()
        os.utime(file, (last.stat().st_mtime + seconds,) * 2)
        config = ConfigParser.from_args(CommandLine(None), argv=args)
        assert config.resume == last
        told = [one for one in caplog.messages if "keeps its config" in one]
        assert len(told) == (seconds > 0)


def test_another_monitor_has_no_best_value_yet(make_trainer):
    first = make_trainer({"trainer.monitor": "max val_top_k_acc", "trainer.epochs": 1})
    first.mnt_best = 2.0  # which no accuracy reaches
    first.train()
    last = first.checkpoint_dir / "last.pth"
    second = make_trainer({"trainer.monitor": "max val_accuracy"}, resume=last)
    second.callbacks = []  # as without tools/changes.py
    second.train()
    assert 0 < second.mnt_best < 1 and second.not_improved_count < 2


def test_parameters_that_no_optimizer_has_are_told_when_they_appear(make_trainer, caplog):
    trainer = make_trainer()
    trainer.model.conv1.requires_grad_(False)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    trainer.optimizer, trainer.lr_scheduler = torch.optim.SGD(trained, 0.1), None
    trainer.after_step.append(lambda: trainer.model.conv1.requires_grad_(True))
    trainer.train()
    lines = [line for line in caplog.messages if "no optimizer has them" in line]
    assert lines == ["not trained, as no optimizer has them: conv1.bias, conv1.weight"]


def test_no_gpu_is_the_cpu(make_config):
    config = make_config({"n_gpu": 0, "device": "auto"})
    assert config["device"] == config.settings.device == "cpu"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN], ids=["plain", "nohup"])
def test_a_closed_terminal_stops_a_run_unless_it_is_to_go_on(before):
    own = signal.signal(signal.SIGHUP, before)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert bool(stop.received) == (before == signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, own)


def test_an_error_of_a_trainer_of_ones_own_keeps_its_words(make_config):
    class Old(Trainer):
        def train_step(self, data, target):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        def _train_epoch(self, epoch):
            return self.train_step(1, 2)

    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = Old(model, nn.functional.mse_loss, [], optimizer, make_config(), "cpu", [1])
    trainer.callbacks = [FirstSteps()]
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer.train()
    assert trainer.outcome.startswith("failed: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_log_on_a_full_disk_says_nothing(make_trainer, capsys):
    make_trainer()
    handler = logging.FileHandler("/dev/full")
    logging.getLogger().addHandler(handler)
    try:
        logging.getLogger("train").warning("one")
    finally:
        logging.getLogger().removeHandler(handler)
        with suppress(OSError):
            handler.close()
    assert "Logging error" not in capsys.readouterr().err


class Maybe(Rows):
    """Every third sample is missing, and all of the first batch of four."""

    def __getitem__(self, index):
        return None if index < 4 or index % 3 == 0 else super().__getitem__(index)


def those_that_are_there(samples):
    kept = [sample for sample in samples if sample is not None]
    rows = torch.stack([row for row, _ in kept]) if kept else torch.zeros(0, dtype=torch.int64)
    drawn = torch.rand(len(kept))  # as for mixup
    return (rows, drawn), rows


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("wrapped", [as_it_is, lambda dataset: Subset(dataset, range(12))])
def test_samples_that_are_left_out_do_not_count_in_a_subset_nor_in_pairs(wrapped, workers):
    loader = BaseDataLoader(wrapped(Maybe()), 4, False, 0, workers, those_that_are_there)
    batches = [(batch, loader.n_samples_in_batch, loader.n_samples_mean) for batch in loader]
    assert [(n, mean) for _, n, mean in batches] == [(0, 0), (3, 3), (3, 3)]
    other = BaseDataLoader(Maybe(), 4, False, 0, 0, those_that_are_there)
    for (batch, _, _), (views, _) in zip(batches, other, strict=True):
        assert torch.equal(batch[0][1], views[1])


def test_a_batch_that_has_no_sample_left_is_passed_over(make_config):
    def rows(samples):
        (kept, _), _ = those_that_are_there(samples)
        return kept[:, None].float(), torch.zeros(len(kept), 1)

    loader = BaseDataLoader(Maybe(), 4, False, 0, 0, rows)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    config = make_config(WHOLE)
    trainer = Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", loader)
    by_hand = model(torch.tensor([[4.0], [5], [7], [8], [10], [11]])).square().mean()
    loss = trainer.train()["loss"]
    assert loss == pytest.approx(by_hand.item(), rel=1e-6) and trainer.step == 2


PROCESSES_WITH_GAPS = """
import torch
from base import BaseDataLoader
from utils import distributed

class Gaps(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return None if index % 2 else torch.tensor(float(index))

def kept(samples):
    return torch.stack([x for x in samples if x is not None])

with distributed.process_group():
    loader = BaseDataLoader(Gaps(), 4, False, 0, 0, kept)
    [_] = loader
    counts = loader.n_samples_in_batch, loader.n_samples_mean
    if distributed.is_main():
        print(*counts)
"""


def test_the_mean_over_processes_is_asked_for_where_samples_may_be_left_out(in_two_processes):
    assert in_two_processes(PROCESSES_WITH_GAPS).split() == ["2", "0.0"]


class Kept:
    """A metric over an epoch that keeps outputs."""

    __name__ = "kept"

    def reset(self):
        self.outputs = []

    def update(self, output, target):
        self.outputs.append(output)

    def compute(self):
        return float(not any(output.requires_grad for output in self.outputs))


def test_what_a_metric_keeps_has_no_graph(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    (metric := Kept()).reset()
    trainer.train_metrics.collectors.append(metric)
    assert trainer.train()["kept"] == 1


def test_another_loss_begins_with_its_own_numbers(make_config):
    changes = {"loss": {"type": "CrossEntropyLoss", "args": {"weight": [1.0] * 10}}}
    first = build_trainer(make_config(changes | {"trainer.epochs": 1}))
    first.train()
    last = first.checkpoint_dir / "last.pth"
    changes["loss.args.weight"] = [5.0] * 10
    resumed = build_trainer(make_config(changes, resume=last))
    resumed.train()
    assert resumed.criterion.weight.tolist() == [5.0] * 10
    _, _, criterion, _, _ = build_trained(make_config(changes, resume=last))
    assert criterion.weight.tolist() == [5.0] * 10


@pytest.mark.parametrize("change", [{"validation_split": 0.3}, {"split_seed": 1}])
def test_another_split_in_a_resumed_run_is_told(change, make_config, monkeypatch, caplog):
    class Own(BaseDataLoader):
        def __init__(self, validation_split=0.2, split_seed=0, training=True):
            rows = TensorDataset(torch.rand(40, 1, 8, 8), torch.arange(40) % 10)
            super().__init__(rows, 4, True, validation_split, 0, split_seed=split_seed)

    monkeypatch.setattr(data_loaders, "Own", Own, raising=False)
    changes = {"data_loader": {"type": "Own", "args": {}}}
    first = build_trainer(make_config(changes | {"trainer.epochs": 1}))
    first.callbacks.clear()
    first.train()
    given = changes | {f"data_loader.args.{key}": value for key, value in change.items()}
    for args, n in ((changes, 0), (given, 1)):
        trainer = build_trainer(make_config(args, resume=first.checkpoint_dir / "last.pth"))
        trainer.callbacks.clear()
        trainer.train()
        assert sum("validation may have learnt ones" in line for line in caplog.messages) == n


def test_weights_of_other_code_may_be_in_any_order(make_config, tmp_path):
    model = Two("ab")
    torch.save(
        {"epoch": 1, "state_dict": dict(sorted(Two("ba").state_dict().items()))}, tmp_path / "x.pth"
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    batches = [(torch.ones(2, 1), torch.zeros(2, 1))]
    config = make_config(WHOLE | {"trainer.epochs": 2}, resume=tmp_path / "x.pth")
    Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", batches).train()


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_scheduler": {"type": "ReduceLROnPlateau", "interval": "step"}},
        {"trainer.monitor": "max val_accuracy"},
        {"trainer.monitor": "off"},
    ],
)
def test_a_plateau_is_that_of_the_monitor(changes, make_config):
    class Own(Trainer):
        def _train_epoch(self, epoch):
            self.lr_scheduler.step(1.0)
            return {"loss": 1.0, "val_loss": 1.0, "val_accuracy": 1.0}

    changes = {"lr_scheduler": "ReduceLROnPlateau"} | changes
    trainer = build_trainer(make_config(changes))
    with pytest.raises(UserError, match="mode = 'min' by (step|epoch)s, not .* by epochs"):
        trainer.train()
    parts = trainer.model, trainer.criterion, trainer.metric_ftns, trainer.optimizer
    loaders = trainer.data_loader, trainer.valid_data_loader
    Own(*parts, make_config(changes), "cpu", *loaders, trainer.lr_scheduler).train()


def test_all_test_samples_are_tested_where_training_drops_the_last(
    make_config, monkeypatch, capsys, tmp_path
):
    class Own(BaseDataLoader):
        def __init__(
            self, batch_size=8, shuffle=False, drop_last=False, validation_split=0, training=True
        ):
            rows = TensorDataset(torch.rand(30, 1, 8, 8), torch.arange(30) % 10)
            super().__init__(rows, batch_size, False, validation_split, 0, drop_last=drop_last)

    monkeypatch.setattr(data_loaders, "Own", Own, raising=False)
    loader = {"type": "Own", "args": {"drop_last": True}}
    changes = {"data_loader": loader, "trainer.monitor": "off", "trainer.epochs": 1}
    changes |= {"trainer.len_epoch": None}
    trainer = build_trainer(make_config(changes))
    trainer.train()
    assert trainer.train_metrics.sums()["loss"][1] == 24
    evaluate(["-r", str(trainer.checkpoint_dir / "last.pth"), "-d", "cpu"])
    assert "30 test samples" in capsys.readouterr().out
    loader["args"]["batch_size"] = 40
    held_out = build_test_loader(make_config(changes))
    assert [len(target) for _, target in held_out] == [30]


def test_optimizers_in_a_list_train_what_they_have(make_trainer, caplog):
    trainer = make_trainer({"trainer.epochs": 1})
    parameters = [*trainer.model.parameters()]
    trainer.optimizer = torch.optim.SGD(parameters[:2], 0.1)
    trainer.lr_scheduler = None
    trainer.optimizers = [torch.optim.SGD(parameters[2:], 0.1)]
    trainer.train()
    assert not [line for line in caplog.messages if "no optimizer has them" in line]


@pytest.mark.parametrize(
    "part", [np.random.default_rng(0), random.Random(0), np.random.RandomState(0)]
)
def test_a_generator_that_no_checkpoint_has_is_told_of_samplers_too(part):
    class Shuffled(torch.utils.data.Sampler):
        def __init__(self):
            self.generator = part

        def __len__(self):
            return 12

        def __iter__(self):
            return iter(range(12))

    loader = BaseDataLoader(Rows(), 4, False, 0, 0, sampler=Shuffled())
    [line] = begins_anew(loader)
    assert line.startswith("sampler: generator begins anew in a resumed run")
    assert len([*loader]) == 3


def test_a_sampler_of_a_part_is_refused_as_the_loader_deals_out(make_config):
    sampler = torch.utils.data.DistributedSampler(Rows(), num_replicas=2, rank=0)
    loader = BaseDataLoader(Rows(), 4, False, 0, 0, sampler=sampler)
    with pytest.raises(UserError, match="data_loader: a sampler of all samples"):
        FirstSteps().on_data_built(loader, make_config())


TRAINED_LOSS = """
import sys
import torch
from digits_example import CONFIG
from parse_config import ConfigParser
from train import build_trainer
from utils import UserError, distributed

with distributed.process_group():
    changes = {"trainer.save_dir": sys.argv[1], "trainer.epochs": 1, "device": "cpu"}
    trainer = build_trainer(ConfigParser.from_file(CONFIG, changes))
    class Scaled(torch.nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))
        def forward(self, output, target):
            return super().forward(output * self.scale, target)
    trainer.criterion = Scaled()
    trainer.optimizer.add_param_group({"params": [trainer.criterion.scale]})
    try:
        trainer.train()
    except UserError as error:
        if distributed.is_main():
            print(error)
"""


def test_parameters_of_a_loss_are_not_trained_by_each_process_alone(in_two_processes, tmp_path):
    script = "import digits_example\ndigits_example.install()\n" + TRAINED_LOSS
    assert "loss: its parameters would differ by process" in in_two_processes(script, str(tmp_path))


OWN_LOSS = """
import sys
import torch
import digits_example
from digits_example import CONFIG
from parse_config import ConfigParser
from train import build_trainer
from utils import distributed

digits_example.install()

class Running(torch.nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
    def forward(self, output, target):
        loss = super().forward(output, target)
        self.mean = 0.5 * self.mean + 0.5 * loss.detach()  # of this process
        return loss / self.mean

def trained(name, epochs, resume=None):
    changes = {"trainer.save_dir": f"{sys.argv[1]}/{name}", "device": "cpu", "lr_scheduler": None}
    changes |= {"trainer.epochs": epochs, "trainer.len_epoch": 3, "trainer.tensorboard": False}
    trainer = build_trainer(ConfigParser.from_file(CONFIG, changes, resume=resume))
    trainer.criterion = Running()
    trainer.train()
    return trainer

with distributed.process_group():
    straight, stopped = trained("a", 2), trained("b", 1)
    resumed = trained("b", 2, stopped.checkpoint_dir / "last.pth")
    means = distributed.all_gather(float(resumed.criterion.mean))
    pairs = zip(straight.model.parameters(), resumed.model.parameters(), strict=True)
    if distributed.is_main():
        print("same" if all(torch.equal(*pair) for pair in pairs) else "other", len(set(means)))
"""


def test_the_state_of_a_loss_is_that_of_each_process(in_two_processes, tmp_path):
    said = in_two_processes(OWN_LOSS, str(tmp_path))
    assert said.splitlines()[-1] == "same 2"
