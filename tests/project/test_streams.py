"""Streams: several workers share one, and a resumed pass gives what the rest of it would have."""

import json
import random
import re
from itertools import islice
from time import monotonic

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from base import BaseDataLoader
from report import summary
from tools.data_wait import DataWait
from tools.history import RecordedRun
from tools.worker_data import WorkerData
from train import build_trainer
from trainer.trainer import Trainer
from utils import UserError, distributed


class Shards(IterableDataset):
    """Shard i of `sizes` has as many samples, 100 * i and those that follow; has a state."""

    def __init__(self, sizes=(7, 5, 9, 4), shuffles=True):
        self.sizes, self.shuffles = sizes, shuffles
        self.epoch, self.place = 0, (0, 0)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def part(self):
        worker = get_worker_info()
        who, n = (worker.id, worker.num_workers) if worker else (0, 1)
        order = list(range(len(self.sizes)))
        if self.shuffles:
            random.Random(self.epoch).shuffle(order)
        return order[distributed.rank() * n + who :: distributed.world_size() * n]

    def __iter__(self):
        shards, (shard, sample) = self.part(), self.place
        while shard < len(shards):
            while sample < self.sizes[shards[shard]]:
                sample += 1
                self.place = (shard, sample)
                yield torch.tensor(100 * shards[shard] + sample - 1)
            shard, sample = shard + 1, 0
        self.place = (0, 0)

    def state_dict(self):
        return {"place": list(self.place)}

    def load_state_dict(self, state):
        self.place = tuple(state["place"])


ALL = sorted(100 * shard + i for shard, n in enumerate((7, 5, 9, 4)) for i in range(n))


def batches(loader, n=None):
    return [batch.tolist() for batch in islice(loader, n)]


def loader_of(workers, stream=None, size=3, **options):
    return BaseDataLoader(stream or Shards(), size, False, 0, workers, **options)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_a_pass_has_each_sample_once_in_an_order_of_its_epoch(workers, persistent):
    options = {"persistent_workers": True} if persistent and workers else {}
    loader = loader_of(workers, **options)
    loader.set_epoch(seed=1, epoch=3)
    third, fourth = batches(loader), batches(loader)
    assert sorted(sum(third, [])) == sorted(sum(fourth, [])) == ALL and third != fourth
    loader.set_epoch(seed=1, epoch=3)
    assert batches(loader) == third


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_is_resumed_wherever_it_was_left_and_again(workers):
    """After each number of batches, its last too; then once more within the rest."""
    straight = loader_of(workers)
    straight.set_epoch(seed=1, epoch=3)
    whole, following = batches(straight), batches(straight)
    for n in range(len(whole) + 1):
        stopped = loader_of(workers)
        stopped.set_epoch(seed=1, epoch=3)
        assert batches(stopped, n) == whole[:n]
        state = stopped.state_dict()
        assert state["samples"] == sum(map(len, whole[:n]))
        again = loader_of(workers)
        again.load_state_dict(state)
        assert batches(again, 2) == whole[n : n + 2]
        last = loader_of(workers, persistent_workers=workers > 0)
        last.load_state_dict(again.state_dict())
        assert batches(last) == whole[n + 2 :]
        assert batches(last) == following


def test_batches_that_workers_have_fetched_but_nobody_has_seen_are_not_lost():
    loader = loader_of(2, prefetch_factor=4)
    seen = batches(loader, 2)
    rest = loader_of(2)
    rest.load_state_dict(loader.state_dict())
    assert sorted(sum(seen + batches(rest), [])) == ALL


class ChangesItsState(Shards):
    """Its state_dict() gives the dict itself, which the next sample changes."""

    def __init__(self, *args, **kwargs):
        self.state = {}
        super().__init__(*args, **kwargs)

    place = property(
        lambda stream: tuple(stream.state["place"]),
        lambda stream, place: stream.state.update(place=list(place)),
    )

    def state_dict(self):
        return self.state


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_is_as_it_was_taken(workers):
    straight, stopped, resumed = (loader_of(workers, ChangesItsState()) for _ in range(3))
    whole = batches(straight)
    assert batches(stopped, 3) == whole[:3]
    resumed.load_state_dict(stopped.state_dict())
    assert batches(resumed) == whole[3:]


def test_a_state_taken_at_the_end_of_a_pass_leads_to_the_next_whole_one():
    loader = loader_of(2)
    batches(loader)
    state, expected = loader.state_dict(), batches(loader)
    resumed = loader_of(2)
    resumed.load_state_dict(state)
    assert batches(resumed) == [] and batches(resumed) == expected


def test_another_number_of_workers_is_refused_in_one_line():
    state = loader_of(2).state_dict()
    with pytest.raises(UserError, match="Shards: the checkpoint is of num_workers = 2"):
        loader_of(0).load_state_dict(state)
    loader_of(0).load_state_dict(loader_of(1).state_dict())  # one reader either way


class Noisy(Shards):
    def __iter__(self):
        for sample in super().__iter__():
            yield torch.tensor([sample, random.random(), np.random.rand(), torch.rand(())])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_random_about_a_batch_is_the_same_after_a_resume(workers):
    straight, stopped, resumed = (loader_of(workers, Noisy()) for _ in range(3))
    states = random.getstate(), torch.get_rng_state()
    whole = batches(straight)
    assert batches(stopped, 3) == whole[:3]
    resumed.load_state_dict(stopped.state_dict())
    assert batches(resumed) == whole[3:]
    assert len({row[1] for batch in whole for row in batch}) == 25
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])


class Stateless(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(10.0)[:, None])


def test_a_stream_without_a_state_starts_again_and_the_run_says_so(caplog):
    loader = loader_of(0, Stateless())
    assert "Stateless has no state_dict: a resumed pass starts again" in caplog.text
    expected = batches(loader)
    batches(loader, 2)
    loader.load_state_dict(loader.state_dict())
    assert "6 samples of its pass come again" in caplog.text
    assert batches(loader) == expected


# Bad input


def test_workers_that_read_the_same_samples_are_refused():
    with pytest.raises(UserError, match="two workers or processes read the same samples"):
        batches(loader_of(2, Stateless()))


@pytest.mark.parametrize(("sizes", "workers"), [((7,), 2), ((), 0), ((), 2)])
def test_too_few_shards_and_an_empty_stream_are_refused(sizes, workers):
    n = max(1, workers)
    with pytest.raises(UserError, match=f"of 1 processes x {n} workers: too few shards"):
        batches(loader_of(workers, Shards(sizes)))


class Damaged(Shards):
    def __iter__(self):
        yield from islice(super().__iter__(), 4)
        raise UserError("shards/3.tar: damaged after sample 4")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_error_of_a_stream_is_one_line(workers):
    with pytest.raises(UserError) as caught:
        batches(loader_of(workers, Damaged()))
    assert str(caught.value) == "shards/3.tar: damaged after sample 4"


class Unreadable(Shards):
    def __iter__(self):
        yield from islice(super().__iter__(), 4)
        json.loads("{")


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_library_cannot_read_is_one_line(workers):
    with pytest.raises(UserError) as caught:
        batches(loader_of(workers, Unreadable()))
    where = "data_loader: Unreadable: worker 0 of process 0, after its batch 1: JSONDecodeError: "
    assert str(caught.value).startswith(where)


def test_a_stream_goes_with_no_split_and_no_shuffle():
    with pytest.raises(UserError, match="a stream or a sampler goes with validation_split = 0"):
        BaseDataLoader(Shards(), 3, False, 0.1, 0)
    with pytest.raises(UserError, match="IterableDataset: expected unspecified shuffle"):
        BaseDataLoader(Shards(), 3, True, 0, 0)


# Training


class Rows(Shards):
    def __iter__(self):
        for sample in super().__iter__():
            yield torch.tensor([float(sample) / 100]), torch.tensor([1.0])


def trainer_of(config, workers=2, **options):
    torch.manual_seed(0)
    net = nn.Linear(1, 1)
    loader = loader_of(workers, Rows(), **options)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    valid = loader.split_validation()
    return Trainer(net, nn.functional.mse_loss, [], optimizer, config, "cpu", loader, valid)


ONE_PASS = {"trainer.monitor": "off", "trainer.epochs": 3, "trainer.len_epoch": None}


def test_an_epoch_is_a_pass_of_unknown_length(make_config):
    trainer = trainer_of(make_config(ONE_PASS), valid_dataset=Rows((3, 3), shuffles=False))
    log = trainer.train()
    assert trainer.step == 3 * 9 or trainer.step > 3 * 8
    assert log["val_loss"] > 0 and trainer.data_loader.state_dict()["samples"] == 25
    assert trainer.valid_data_loader.state_dict()["samples"] == 6


def test_len_epoch_takes_batches_of_passes_that_follow_each_other(make_config):
    trainer = trainer_of(make_config(ONE_PASS | {"trainer.len_epoch": 5}))
    trainer.train()
    assert trainer.step == 15 and trainer.data_loader.state_dict()["epoch"] == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_that_is_shorter_than_len_epoch_is_told_once(make_config, caplog, workers):
    trainer = trainer_of(make_config(ONE_PASS | {"trainer.len_epoch": 12}), workers)
    trainer.train()
    assert trainer.step == 36
    assert caplog.text.count("it begins again") == 1
    line = r"Rows: ended after (9|10) batches, before trainer.len_epoch = 12: it begins again"
    assert re.search(line, caplog.text)


class Slow(Rows):
    def __iter__(self):
        for sample in super().__iter__():
            end = monotonic() + 0.01
            while monotonic() < end:
                pass
            yield sample


@pytest.mark.parametrize(("stream", "is_told"), [(Slow, True), (Rows, False)])
def test_the_log_says_how_long_training_waits_for_data(make_config, caplog, stream, is_told):
    caplog.set_level("DEBUG")
    net = nn.Linear(1, 1)
    loader = loader_of(0, stream())
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    config = make_config(ONE_PASS | {"trainer.epochs": 1})
    trainer = Trainer(net, nn.functional.mse_loss, [], optimizer, config, "cpu", loader)
    trainer.callbacks = [DataWait()]
    trainer.train()
    assert 0 < trainer.callbacks[0].share < 1
    assert "Training waited for its data" in caplog.text
    if is_told:
        words = "workers prepare data meanwhile: raise data_loader.args.num_workers, now 0"
        assert f"of the time: {words}" in caplog.text
        assert (
            f"of the last epoch: {words}"
            in dict(summary(RecordedRun(trainer.checkpoint_dir)))["waiting for data"]
        )


def test_the_console_says_once_that_workers_would_help(make_config, monkeypatch, capsys):
    trainer = trainer_of(make_config(ONE_PASS | {"trainer.verbosity": 2}))
    trainer.data_loader = loader_of(0, Slow())
    trainer.train()
    assert trainer.epoch == 3 and capsys.readouterr().out.count("raise data_loader") == 1
    log = (trainer.checkpoint_dir / "train.log").read_text(encoding="utf-8")
    assert log.count("raise data_loader") == 3
    monkeypatch.setattr("tools.data_wait.SECONDS", 60)  # as where batches are cheap
    fast = trainer_of(make_config(ONE_PASS))
    fast.train()
    assert "Training waited" not in capsys.readouterr().out


def test_a_loop_of_ones_own_says_nothing_of_waiting(make_config, caplog):
    caplog.set_level("DEBUG")
    trainer = trainer_of(make_config(ONE_PASS | {"trainer.epochs": 1}))
    trainer._train_epoch = lambda epoch: {"loss": 0.0}
    trainer.train()
    assert "waited" not in caplog.text


class Scaled(Dataset):
    def __init__(self):
        self.scale = 0.0

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.tensor([self.scale]), 0


class ScalesByEpoch(Trainer):
    def _train_epoch(self, epoch):
        self.data_loader.dataset.scale = float(epoch)
        return super()._train_epoch(epoch)

    def train_step(self, batch):
        return {"scale": batch[0].mean()}


@pytest.mark.parametrize(("persistent", "scale"), [(True, 1), (False, 2)])
def test_a_data_set_that_changes_while_workers_persist_is_told(
    make_config, caplog, persistent, scale
):
    plain = build_trainer(make_config({"trainer.monitor": "off", "trainer.len_epoch": None}))
    loader = BaseDataLoader(Scaled(), 4, True, 0, 1, persistent_workers=persistent)
    parts = (plain.model, plain.criterion, [], plain.optimizer, plain.config, "cpu", loader)
    trainer = ScalesByEpoch(*parts)
    trainer.callbacks = [WorkerData()]
    assert trainer.train()["scale"] == scale
    assert ("The data set's scale changed" in caplog.text) == persistent


# Several processes

PROCESS = """
from itertools import islice

from base import BaseDataLoader
from test_streams import Shards
from utils import distributed

SIZES = (7, 5, 40, 4, 30, 1, 2, 9)


def loader_at(state=None):
    loader = BaseDataLoader(Shards(SIZES), 3, False, 0, 2)
    loader.set_epoch(seed=1, epoch=3)
    if state is not None:
        loader.load_state_dict(state)
    return loader


def steps(loader, n=None):
    return [(batch.tolist(), loader.n_samples_in_batch) for batch in islice(loader, n)]


with distributed.process_group():
    straight = loader_at()
    done = steps(straight)
    following = steps(straight)
    for one in done, following:  # uneven: some have batches where others have none
        counted = distributed.all_gather([batch for batch, n in one if n])
        assert len({*distributed.all_gather(len(one))}) == 1 and len({*map(len, counted)}) == 2
        samples = sorted(i for batches in counted for batch in batches for i in batch)
        assert samples == sorted(100 * k + i for k, n in enumerate(SIZES) for i in range(n))
    for k in 0, 1, 5, len(done) - 3, len(done) - 1, len(done):
        first = loader_at()
        assert steps(first, k) == done[:k]
        second = loader_at(first.state_dict())
        assert steps(second, 2) == done[k : k + 2]
        third = loader_at(second.state_dict())
        assert steps(third) == done[k + 2 :]
        assert steps(third) == following
    if distributed.is_main():
        print("each sample once")
"""


@pytest.mark.slow
def test_processes_with_unequal_parts_have_each_sample_once_and_go_on_exactly(in_two_processes):
    assert "each sample once" in in_two_processes(PROCESS)
