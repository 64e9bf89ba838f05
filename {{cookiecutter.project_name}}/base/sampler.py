"""Which samples a batch has and what is random about them, as a function of the seed.

`EpochSampler` gives the order of a pass, `EpochBatchSampler` cuts it into the batches of this
process, `SeededSamples` makes the samples. Change it for another order of the data.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from hashlib import blake2b
from typing import Any

import torch
from torch.utils.data import BatchSampler, Dataset, Sampler, get_worker_info

from utils import distributed
from utils.seed import preserved_random_state, seeded_each, seeded_list

ODD, MOST = 0x9E3779B97F4A7C15, 2**64 - 1  # seeds of neighbours have little in common


def derive_seed(*numbers: Any) -> int:
    """One 64-bit seed from several numbers; (1, 2) and (2, 1) give unrelated ones."""
    digest = blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class EpochSampler(Sampler):
    """The given indices, in order or shuffled: the order is a function of (seed, epoch)."""

    order_name = "randperm"

    def __init__(self, indices: Any, shuffle: bool) -> None:
        self.indices, self.shuffle = torch.as_tensor(indices), shuffle
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        self.seed, self.epoch = seed, epoch

    def order(self) -> Any:
        """The indices in the order of this epoch; `order[a:b]` are some of them."""
        if not self.shuffle:
            return self.indices
        seed, n = derive_seed(self.seed, self.epoch), len(self.indices)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        return torch.as_tensor(self.indices)[order]  # a loader may have set a list

    def __iter__(self) -> Iterator[int]:
        return iter(torch.as_tensor(self.order()[:]).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class EpochBatchSampler(BatchSampler):
    """The batches of (seed, epoch), the first `samples` left out; then those of the next epoch.

    Of several processes each has its part of every batch, on average `batch_size` samples. In
    training, fewer than two for each at the end, too few for batch norm, join the batch before.
    """

    sampler: Any

    def __init__(
        self, sampler: Any, batch_size: int, drop_last: bool = False, is_fixed: bool = False
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.is_fixed = is_fixed  # every pass is that of the same epoch, as for validation
        self.rank, self.world_size = distributed.rank(), distributed.world_size()
        # Of each batch: samples here, in a process on average, and of the pass when it is done
        self.positions: deque[tuple[int, float, int]] = deque()
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int, samples: int = 0) -> None:
        """Let the next pass be this one, from that sample on."""
        self.seed, self.epoch, self.samples = seed, epoch, samples

    def count(self, skip: int = 0) -> int:
        """How many batches there are after the first `skip` samples of an epoch."""
        left = max(0, len(self.sampler) - skip)
        full, rest = divmod(left, self.batch_size * (n := self.world_size))
        n_least = 1 if self.is_fixed or n == 1 else n * (2 if full else 1)
        return full + (rest >= n_least and not self.drop_last)

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator["SeededBatch"]:
        seed, epoch, skip = self.seed, self.epoch, self.samples
        self.set_epoch(seed, epoch + (not self.is_fixed))
        positions = self.positions = deque()
        order = self.order(seed, epoch)
        for number, start, stop in self.cuts(skip):
            n = stop - start
            low = start + n * self.rank // self.world_size
            high = start + n * (self.rank + 1) // self.world_size
            if high > low:
                positions.append((high - low, n / self.world_size, stop))
                yield SeededBatch(order[low:high], (seed, epoch, number, self.rank))

    def cuts(self, skip: int) -> Iterator[tuple[int, int, int]]:
        """Of each batch of all processes its number, and its samples from, to."""
        count, n_of_all = self.count(skip), self.batch_size * self.world_size
        for start in range(skip, skip + count * n_of_all, n_of_all):
            is_last = start == skip + (count - 1) * n_of_all and not self.drop_last
            yield start // n_of_all, start, len(self.sampler) if is_last else start + n_of_all

    def order(self, seed: int, epoch: int) -> Any:
        """The samples of a pass in their order, or what a sampler of another class gives."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.set_epoch(seed, epoch)
            return self.sampler.order()
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)  # as in torch
        return seeded_list(self.sampler, derive_seed(seed, epoch))


class SeededBatch(list):
    """The indices of a batch; taken one by one, Python, NumPy and torch are seeded for each sample.

    What is random about a sample is so a function of (seed, epoch, index). A data set that makes
    whole batches can use `seed`, of (seed, epoch, number of the batch, rank), and maybe `tensor`.
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
        base, ids = derive_seed("samples", *batch.place[:2]), batch[:]
        seeds = [(base + i * ODD) & MOST if type(i) is int else derive_seed(base, i) for i in ids]
        with nullcontext() if get_worker_info() else preserved_random_state(is_fast=True):
            yield from seeded_each(ids, seeds, self.used)
