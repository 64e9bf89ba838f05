"""How the samples of a batch are made, in this process or in a worker of a data loader."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from operator import itemgetter
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from utils.seed import CPU_GENERATORS, derive_seed, preserved_random_state
from utils.signals import ignore_stop_signals

FIRST_NUMBERS = 0.8444218515250481, 0.5488135039273248, 0.9700530018065531  # after seed 0
ODD = 0x9E3779B97F4A7C15  # so that seeds of neighbours have little in common
MOST = 2**64 - 1


class SeededBatch(list):
    """The indices of a batch; taken one by one, Python, NumPy and torch are seeded for each sample.

    What is random about a sample is so a function of (seed, epoch, index), wherever it is made. A
    data set that makes whole batches in `__getitems__` can use `seed`, a function of (seed, epoch,
    number of the batch, rank of the process), and here, where there is one, the indices' `tensor`.
    """

    def __init__(self, indices: Any, place: tuple[int, int, int, int]) -> None:
        if is_tensor := isinstance(indices, torch.Tensor):
            self.tensor = indices
        super().__init__(indices.tolist() if is_tensor else indices)
        self.place = place
        self.seed = derive_seed("batch", *place)
        self.seeded: Callable = list.__iter__

    def __iter__(self) -> Iterator[Any]:
        return self.seeded(self)

    def __reduce__(self) -> tuple:  # how it goes to a worker
        return SeededBatch, (self[:], self.place)


class SeededSamples(Dataset):
    """What makes the batches of a data set, for `DataLoader` and its workers."""

    def __init__(self, dataset: Any, is_fixed: bool) -> None:
        self.dataset, self.make = dataset, getattr(dataset, "__getitems__", None)
        self.epoch: Any = None if hasattr(dataset, "set_epoch") and not is_fixed else "untold"
        self.used: list[int] = []  # of the generators, those that samples have drawn from

    def __getitems__(self, batch: SeededBatch) -> Any:
        batch.seeded, epoch = self._seeded, batch.place[1]
        if self.epoch not in ("untold", epoch):
            self.epoch = epoch
            self.dataset.set_epoch(epoch)
        while True:
            n_used = len(self.used)
            samples = self.make(batch) if self.make else [*map(self.dataset.__getitem__, batch)]
            if len(self.used) == n_used:  # else once more, with the new ones seeded too
                return samples

    def _seeded(self, batch: SeededBatch) -> Iterator[Any]:
        """The indices, each when the generators are seeded for its sample."""
        base = derive_seed("samples", *batch.place[:2])
        seeds = [
            (base + index * ODD) & MOST if type(index) is int else derive_seed(base, index)
            for index in batch[:]
        ]
        used, others = self.used, [i for i in range(len(CPU_GENERATORS)) if i not in self.used]
        with nullcontext() if get_worker_info() else preserved_random_state(is_fast=True):
            for i in others:
                CPU_GENERATORS[i][0](0)
            seeding: Any = [map(CPU_GENERATORS[i][0], seeds) for i in used]
            # Without a loop in Python, which takes longer
            yield from map(itemgetter(-1), zip(*seeding, batch[:], strict=True))
            # To seed takes time, so the others are when a sample is found to have drawn from them
            used += [i for i in others if CPU_GENERATORS[i][1]() != FIRST_NUMBERS[i]]


class SamplePasses:
    """The passes over samples that `sampler` puts into batches, and how much was given out."""

    def __init__(self, samples: SeededSamples, sampler: Any, options: dict[str, Any]) -> None:
        self.samples, self.sampler, self.collate_fn = samples, sampler, options["collate_fn"]
        self.loader = DataLoader(samples, batch_sampler=sampler, **options)
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int, samples: int = 0) -> None:
        """Let the next pass be this one, after its first `samples` of all processes."""
        self.sampler.set_epoch(seed, epoch, samples)
        self.place = seed, epoch, samples

    @property
    def state(self) -> dict[str, Any]:
        """How much of which pass was given out: the same in all processes, for any number."""
        order = getattr(self.sampler.sampler, "order_name", "own")
        return dict(zip(("seed", "epoch", "samples"), self.place, strict=True)) | {"order": order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of this one."""
        self.set_epoch(state["seed"], state["epoch"], state["samples"])

    def __iter__(self) -> Iterator[tuple[Any, int, float]]:
        """Each batch, the number of its samples, and that of a process on average."""
        seed, epoch, positions = self.sampler.seed, self.sampler.epoch, None
        if self.loader.num_workers or self.loader.pin_memory:
            batches: Any = iter(self.loader)
        else:  # the short way
            batches = map(self.collate_fn, map(self.samples.__getitems__, self.sampler))
        for batch in batches:
            positions = self.sampler.positions if positions is None else positions
            n, mean, done = positions.popleft()
            self.place = seed, epoch, done
            yield batch, n, mean


def start_worker(worker_init_fn: Callable | None, worker: int) -> None:
    """In a worker, before its first batch: the main process alone says when it ends."""
    ignore_stop_signals()
    info: Any = get_worker_info()
    object.__setattr__(info, "dataset", info.dataset.dataset)  # as `worker_init_fn` expects it
    if worker_init_fn is not None:
        worker_init_fn(worker)
