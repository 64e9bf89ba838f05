"""How the samples of a batch are made, in this process or in a worker of a data loader.

What is random about a sample is so a function of (seed, epoch, index), wherever it is made.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

from utils.seed import CPU_GENERATORS, derive_seed, preserved_random_state
from utils.signals import ignore_stop_signals


class SeededBatch(list):
    """The indices of a batch; taken one by one, Python, NumPy and torch are seeded for each sample.

    A data set that makes whole batches in `__getitems__` can use `seed`, a function of (seed,
    epoch, number of the batch, rank of the process), and `tensor`, the indices as one.
    """

    def __init__(self, indices: Any, place: tuple[int, int, int, int]) -> None:
        is_tensor = isinstance(indices, torch.Tensor)
        super().__init__(indices.tolist() if is_tensor else indices)
        self.place = place
        self.seed = derive_seed("batch", *place)
        self.seeded: Callable | None = None  # a generator function, of the process that makes it
        if is_tensor:
            self.tensor = indices

    @cached_property
    def tensor(self) -> torch.Tensor:
        return torch.tensor(self[:])

    def __iter__(self) -> Iterator[Any]:
        return super().__iter__() if self.seeded is None else self.seeded(self)

    def __reduce__(self) -> tuple:  # how it goes to a worker
        return SeededBatch, (self[:], self.place)


class SeededSamples(Dataset):
    """What makes the batches of a data set, for `DataLoader` and its workers."""

    def __init__(self, dataset: Any, is_fixed: bool) -> None:
        self.dataset = dataset
        self.tells_epoch = hasattr(dataset, "set_epoch") and not is_fixed
        self.epoch = -1
        self.used: list[Any] | None = None  # the generators that samples draw from, once known
        self.watched: dict[Any, float] = {}  # the others, with the first number after seed 0
        self.missed: list[Any] = []  # those that a sample was the first to draw from

    def __getitems__(self, batch: SeededBatch) -> Any:
        batch.seeded = self._seeded
        if self.tells_epoch and self.epoch != batch.place[1]:
            self.epoch = batch.place[1]
            self.dataset.set_epoch(self.epoch)
        make = getattr(self.dataset, "__getitems__", None)
        while True:
            self.missed = []
            samples = make(batch) if make else [self.dataset[index] for index in batch]
            if not self.missed:  # else once more, with these seeded too
                return samples

    def _seeded(self, batch: SeededBatch) -> Iterator[Any]:
        """The indices of a batch, each when the generators are seeded for its sample."""
        seed, epoch, *_ = batch.place
        with nullcontext() if get_worker_info() else preserved_random_state(is_fast=True):
            used = CPU_GENERATORS if self.used is None else self.used
            for set_seed, _ in self.watched:
                set_seed(0)
            for index in list.__iter__(batch):
                own = derive_seed(seed, epoch, index)
                for set_seed, _ in used:
                    set_seed(own)
                yield index
                if self.used is None:  # to seed takes time: only what the first has drawn from
                    used = self.used = [one for one in used if one[1]() != first_number(one, own)]
                    others = [one for one in CPU_GENERATORS if one not in used]
                    self.watched = {one: first_number(one, 0) for one in others}
                    for set_seed, _ in others:
                        set_seed(0)
            self.missed = [one for one, number in self.watched.items() if one[1]() != number]
            for one in self.missed:
                self.used.append(one)
                del self.watched[one]


def first_number(generator: Any, seed: int) -> float:
    """What a generator gives first, once it is seeded."""
    set_seed, draw = generator
    set_seed(seed)
    return draw()


def start_worker(worker_init_fn: Callable | None, worker: int) -> None:
    """In a worker, before its first batch: the main process alone says when it ends."""
    ignore_stop_signals()
    info: Any = get_worker_info()
    object.__setattr__(info, "dataset", info.dataset.dataset)  # as `worker_init_fn` expects it
    if worker_init_fn is not None:
        worker_init_fn(worker)
