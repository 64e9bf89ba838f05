import os
import random
import subprocess
import sys
import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from base import BaseDataLoader
from base.sampler import EpochSampler
from tools.permutation import ManySamples, Permutation
from tools.quiet_end import QuietEnd
from utils import UserError
from utils.files import PROJECT_DIR
from utils.resume import refuse_another


class Numbers(torch.utils.data.Dataset):
    """Sample i is i, and must be asked for with a plain int."""

    def __init__(self, n=20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        assert type(index) is int
        return torch.tensor(index)


def seen(loader):
    return [index for batch in loader for index in batch.tolist()]


@pytest.mark.parametrize(("split", "n_valid"), [(0, 0), (0.0, 0), (0.25, 5), (7, 7)])
def test_split_by_fraction_or_count(split, n_valid):
    loader = BaseDataLoader(Numbers(), 4, True, split, 0)
    valid = loader.split_validation()
    valid = [] if valid is None else seen(valid)
    assert len(valid) == n_valid and loader.n_samples == 20 - n_valid
    assert sorted(seen(loader) + valid) == list(range(20))


@pytest.mark.parametrize("split", [1.5, 1.0, -0.1, 20, -1])
def test_an_impossible_split_is_refused(split):
    with pytest.raises(UserError, match=f"validation_split = {split}"):
        BaseDataLoader(Numbers(), 4, True, split, 0)


def test_a_loader_without_batches_is_refused():
    with pytest.raises(UserError, match="batch_size = 21: 20 samples give no batch"):
        BaseDataLoader(Numbers(), 21, True, 0, 0, drop_last=True)


def test_options_of_torch_are_passed_on():
    options = {"drop_last": True, "persistent_workers": True}
    loader = BaseDataLoader(Numbers(), 6, True, 0, 2, **options)
    loader.set_epoch(seed=1, epoch=0)
    first, second = seen(loader), seen(loader)
    assert len(first) == 18 == len(second) and first != second and len(loader) == 3
    loader.set_epoch(seed=1, epoch=1)
    assert seen(loader) == second


def test_options_that_do_not_go_together_are_one_line():
    with pytest.raises(UserError, match="^data_loader: prefetch_factor"):
        BaseDataLoader(Numbers(), 6, True, 0, 0, prefetch_factor=2)


@pytest.mark.parametrize("persistent", [True, False])
def test_a_script_that_still_holds_workers_ends(persistent):
    """As one does that ends by an error, whose frames hold all that was at hand."""
    code = (
        "from base import BaseDataLoader\n"
        f"loader = BaseDataLoader(range(20), 4, True, 0, 2, persistent_workers={persistent})\n"
        "batches = iter(loader)\nnext(batches)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_split_is_the_same_every_time_and_follows_its_own_seed():
    valid = seen(BaseDataLoader(Numbers(), 4, True, 5, 0).split_validation())
    assert valid == seen(BaseDataLoader(Numbers(), 4, False, 5, 0).split_validation())
    other = BaseDataLoader(Numbers(), 4, True, 5, 0, split_seed=1)
    assert valid != seen(other.split_validation())


def test_a_subclass_may_leave_the_sampler_to_torch():
    """As victoresque's `_split_sampler` does where nothing is split off."""

    class Old(BaseDataLoader):
        def _split_sampler(self, split):
            return None, None

    loader = Old(Numbers(), 4, True, 0.0, 0)
    first, second = seen(loader), seen(loader)
    assert first != second and sorted(first) == sorted(second) == list(range(20))
    assert seen(Old(Numbers(), 4, False, 0.0, 0)) == list(range(20))


def test_no_shuffle_means_in_order():
    loader = BaseDataLoader(Numbers(), 4, False, 5, 0)
    assert seen(loader) == sorted(seen(loader))


def test_the_order_is_a_function_of_seed_and_epoch():
    loader = BaseDataLoader(Numbers(), 4, True, 0, 0)
    loader.set_epoch(seed=1, epoch=3)
    third, fourth = seen(loader), seen(loader)
    assert third != fourth
    again = BaseDataLoader(Numbers(), 4, True, 0, 2)
    again.set_epoch(seed=1, epoch=4)
    assert seen(again) == fourth
    again.set_epoch(seed=2, epoch=3)
    assert seen(again) != third


def test_skipping_into_an_epoch_loads_nothing_that_is_skipped():
    loader = BaseDataLoader(Numbers(), 4, True, 0, 0)
    loader.set_epoch(seed=1, epoch=3)
    whole = seen(loader)
    loader.load_state_dict({"seed": 1, "epoch": 3, "samples": 8})
    assert seen(loader) == whole[8:]


class Noisy(Numbers):
    def __getitem__(self, index):
        draws = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([index, *draws])


def test_what_is_random_about_a_sample_does_not_depend_on_who_makes_it():
    """Not on workers, batch size or where an epoch is entered; on seed, epoch and index it does."""

    def samples(batch_size=4, num_workers=0, seed=1, epoch=3, done=0):
        loader = BaseDataLoader(Noisy(), batch_size, True, 0, num_workers)
        loader.load_state_dict({"seed": seed, "epoch": epoch, "samples": done})
        return {row[0]: row[1:] for batch in loader for row in batch.tolist()}

    expected = samples()
    assert len({tuple(draws) for draws in expected.values()}) == 20
    assert samples(num_workers=2) == samples(batch_size=7) == expected
    later = samples(num_workers=2, done=12)
    assert later == {index: expected[index] for index in later} and len(later) == 8
    assert all(samples(seed=2)[i] != draws for i, draws in expected.items())
    assert all(samples(epoch=4)[i] != draws for i, draws in expected.items())


def test_validation_is_the_same_in_every_pass():
    valid = BaseDataLoader(Noisy(), 4, True, 8, 0).split_validation()
    assert [b.tolist() for b in valid] == [b.tolist() for b in valid]


def test_global_random_states_are_left_alone():
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    loader = BaseDataLoader(Numbers(), 4, True, 5, 0)
    seen(loader), seen(loader.split_validation())
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_variable_length_sequences_with_a_collate_function():
    sequences = [torch.ones(n) for n in (3, 1, 2, 5)]
    loader = BaseDataLoader(
        sequences, 2, False, 0, 0, lambda batch: (pad_sequence(batch, True), list(map(len, batch)))
    )
    (first, lengths), (second, _) = loader
    assert first.shape == (2, 3) and second.shape == (2, 5) and lengths == [3, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_subclass_may_set_its_collate_function_later(workers):
    loader = BaseDataLoader([torch.ones(n) for n in (3, 1, 2, 5)], 1, False, 2, workers)
    loader.collate_fn = lambda batch: [len(one) for one in batch]
    lengths = [n for part in (loader, loader.split_validation()) for [n] in part]
    assert sorted(lengths) == [1, 2, 3, 5]


def test_a_data_set_without_samples_is_named():
    with pytest.raises(UserError, match="the data set has no samples"):
        BaseDataLoader([], 4, True, 0.1, 0)


@pytest.mark.parametrize(("name", "expected"), [("Thread-1 (_pin_memory_loop)", 0), ("other", 1)])
def test_the_thread_that_pins_memory_ends_without_a_word(monkeypatch, name, expected):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    for _ in range(2):  # a second training adds no second hook
        QuietEnd().on_setup(None)

    def end():
        raise ConnectionResetError

    thread = threading.Thread(target=end, name=name)
    thread.start()
    thread.join()
    assert len(told) == expected


# Orders without a list


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 1000, 65537])
def test_a_permutation_has_each_number_once_however_it_is_asked(n):
    numbers = Permutation(n, seed=5)
    assert sorted(numbers[0:n].tolist()) == list(range(n)) and len(numbers) == n
    again = Permutation(n, seed=5)
    parts = [again[start : start + 7] for start in reversed(range(0, n, 7))]
    assert torch.cat(parts[::-1]).tolist() == numbers[0:n].tolist()
    assert n < 10 or Permutation(n, seed=6)[0:n].tolist() != numbers[0:n].tolist()


@pytest.mark.parametrize("n", [2_000_000, 3**19, 10**9])
def test_a_permutation_looks_random(n):
    """100 equal parts are hit alike, neighbours and seeds are unrelated: within 5 deviations."""
    count = 40_000
    for seed in range(5):
        part = slice(seed * count, (seed + 1) * count)
        x, other = (Permutation(n, one)[part].double() / n for one in (seed, seed + 100))
        chi2 = ((torch.histc(x, 100, 0, 1) - count / 100) ** 2 / (count / 100)).sum()
        assert abs(chi2 - 99) < 5 * 198**0.5
        for a, b in ((x[:-1], x[1:]), (x, other), (x, torch.arange(count))):
            assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / count**0.5


class Large(Numbers):
    """Sample i is i, of more than anybody lists."""

    def __init__(self, n=10**9):
        super().__init__(n)


def first_batches(loader, n=3):
    return [batch.tolist() for batch, _ in zip(loader, range(n), strict=False)]


def test_a_billion_samples_are_split_shuffled_and_resumed_without_a_list():
    tracemalloc.start()
    loader = BaseDataLoader(Large(), 64, True, 0.1, 0)
    valid = loader.split_validation()
    assert len(loader.sampler) == loader.n_samples == 9 * 10**8 and len(valid.sampler) == 10**8
    place = {"seed": 1, "epoch": 3, "order": "feistel"}
    loader.load_state_dict(place | {"samples": 64 * 5_000_000})
    middle = first_batches(loader)
    held_out = first_batches(valid)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    resumed = BaseDataLoader(Large(), 64, True, 0.1, 2)
    resumed.load_state_dict(place | {"samples": 64 * 5_000_001})
    assert first_batches(resumed, 2) == middle[1:]
    assert held_out == first_batches(resumed.split_validation())
    in_order = BaseDataLoader(Large(), 64, False, 0, 0)
    assert first_batches(in_order, 1) == [list(range(64))]
    with_seed = BaseDataLoader(Large(), 64, True, 0.1, 0, split_seed=1)
    assert first_batches(with_seed.split_validation()) != held_out


def test_parts_and_order_of_many_have_each_sample_once(monkeypatch):
    monkeypatch.setattr("base.base_data_loader.MANY", 100)
    loader = BaseDataLoader(Numbers(5000), 64, True, 0.1, 0)
    train, valid = seen(loader), seen(loader.split_validation())
    assert sorted(train + valid) == list(range(5000)) and len(valid) == 500
    assert list(loader.sampler) == train and train != seen(loader)


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_order_of_many_is_the_same_for_any_number_of_processes(monkeypatch, world_size):
    monkeypatch.setattr("base.base_data_loader.MANY", 100)

    def batches(rank, n):
        loader = BaseDataLoader(Numbers(1000), 60 // n, True, 0, 0)
        loader.batch_sampler.rank, loader.batch_sampler.world_size = rank, n
        return [batch.tolist() for batch in loader]

    ranks = [batches(rank, world_size) for rank in range(world_size)]
    assert [sum(step, []) for step in zip(*ranks, strict=True)] == batches(0, 1)


def test_an_old_run_keeps_its_order_and_its_split(monkeypatch):
    old = BaseDataLoader(Numbers(5000), 64, True, 0.1, 0)
    old.load_state_dict({"seed": 1, "epoch": 3, "samples": 640})
    state, rest, held_out = old.state_dict(), seen(old), seen(old.split_validation())
    assert state.pop("order") == "randperm"  # as of a version that had no other
    monkeypatch.setattr("base.base_data_loader.MANY", 100)
    new = BaseDataLoader(Numbers(5000), 64, True, 0.1, 0)
    valid = new.split_validation()
    assert new.state_dict()["order"] == "feistel" and seen(valid) != held_out
    ManySamples().on_checkpoint_load(SimpleNamespace(data_loader=new), {"data_loader": state})
    new.load_state_dict(state)
    assert seen(new) == rest and seen(valid) == held_out
    assert new.state_dict()["order"] == "randperm"


def test_without_the_extra_a_run_with_an_order_of_many_is_refused(make_trainer):
    trainer = make_trainer()
    state = {"ranks": [], "config": trainer.config.given, "data_loader": {"order": "feistel"}}
    with pytest.raises(UserError, match="an order of many samples: this is in the full project"):
        refuse_another(trainer, state)


# What is random about a sample


class LateDraws(Numbers):
    """Most samples draw from torch alone, some from the others too, and sample 0 from nothing."""

    def __getitem__(self, index):
        draws = [float(torch.rand(()))] if index else []
        draws += [float(np.random.rand())] if index % 7 == 3 else []
        draws += [random.random()] if index % 11 == 5 else []
        return torch.tensor([index, *draws, 0.0, 0.0, 0.0])[:4]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_generator_that_a_later_sample_is_the_first_to_draw_from_is_seeded_too(shuffle):
    def samples(batch_size, num_workers=0):
        loader = BaseDataLoader(LateDraws(), batch_size, shuffle, 0, num_workers)
        loader.set_epoch(seed=1, epoch=3)
        before = random.getstate()
        found = {row[0]: row[1:] for batch in loader for row in batch.tolist()}
        assert random.getstate() == before
        return found

    assert samples(1) == samples(4) == samples(7) == samples(20) == samples(3, num_workers=2)


def test_samples_of_a_subset_are_seeded_each():
    subset = torch.utils.data.Subset(Noisy(), range(5, 15))
    first, second = (
        {
            row[0]: row[1:]
            for batch in BaseDataLoader(subset, n, True, 0, 0)
            for row in batch.tolist()
        }
        for n in (3, 7)
    )
    assert first == second and len({tuple(draws) for draws in first.values()}) == 10


# Workers


class Told(Numbers):
    """Samples that say which epoch they are of."""

    epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return torch.tensor([index, -1 if self.epoch is None else self.epoch, os.getpid()])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_that_stay_are_told_each_epoch(workers):
    loader = BaseDataLoader(Told(), 4, True, 0.25, workers)
    pids = set()
    for epoch in (2, 3, 7):
        loader.set_epoch(seed=1, epoch=epoch)
        rows = torch.cat(list(loader))
        assert set(rows[:, 1].tolist()) == {epoch}
        pids |= set(rows[:, 2].tolist())
    assert len(pids) == (workers or 1)


class Opened(Numbers):
    """Samples that say which worker has opened the file that they are read from."""

    def __getitem__(self, index):
        return torch.tensor(self.opened_by)


def open_file(worker):
    torch.utils.data.get_worker_info().dataset.opened_by = worker


def test_a_worker_init_fn_finds_the_data_set_itself():
    loader = BaseDataLoader(Opened(8), 4, False, 0, 2, worker_init_fn=open_file)
    assert seen(loader) == [0] * 4 + [1] * 4


class Broken(Numbers):
    def __getitem__(self, index):
        raise UserError("images/7.png: no picture")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_that_a_data_set_names_is_one_line(workers):
    with pytest.raises(UserError) as caught:
        seen(BaseDataLoader(Broken(), 4, False, 0, workers))
    assert str(caught.value) == "images/7.png: no picture"


def test_the_indices_of_a_sampler_may_be_set_to_a_list():
    sampler = EpochSampler(range(9), shuffle=True)
    sampler.indices = [1, 4, 7]
    assert sorted(sampler) == [1, 4, 7] and list(sampler) == list(sampler)
