import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from base import BaseDataLoader
from tools.quiet_end import QuietEnd
from utils import UserError
from utils.files import PROJECT_DIR


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
    loader.set_epoch(seed=1, epoch=3, samples=8)
    assert seen(loader) == whole[8:]


class Noisy(Numbers):
    def __getitem__(self, index):
        draws = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([index, *draws])


def test_what_is_random_about_a_sample_does_not_depend_on_who_makes_it():
    """Not on workers, batch size or where an epoch is entered; on seed, epoch and index it does."""

    def samples(batch_size=4, num_workers=0, seed=1, epoch=3, done=0):
        loader = BaseDataLoader(Noisy(), batch_size, True, 0, num_workers)
        loader.set_epoch(seed, epoch, done)
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
