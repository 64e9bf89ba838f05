"""Which samples a batch has, and what is random about them, as functions of the seed.

Read it after base_data_loader.py, to change the order of the data. `EpochSampler` gives the order
of a pass, `EpochBatchSampler` cuts it into the batches of this process, `SeededBatch` is one of
them and decides what is random about its samples.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import blake2b
from typing import Any

import torch
from torch.utils.data import BatchSampler, Sampler

from utils import distributed
from utils.seed import CPU_GENERATORS, preserved_random_state, seed_cpu


class EpochSampler(Sampler):
    """The given indices, in order or shuffled: the order is a function of (seed, epoch)."""

    def __init__(self, indices: Any, shuffle: bool) -> None:
        self.indices = torch.as_tensor(indices)
        self.shuffle = shuffle
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        self.seed, self.epoch = seed, epoch

    def order(self) -> torch.Tensor:
        """(N,) indices in the order of this epoch."""
        if not self.shuffle:
            return self.indices
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        return self.indices[torch.randperm(len(self.indices), generator=generator)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return len(self.indices)


class EpochBatchSampler(BatchSampler):
    """The batches of (seed, epoch), the first `samples` left out; then those of the next epoch.

    Of several processes each has its part of every batch, so that a batch of all is `batch_size`
    times their number. In training all have the same number of batches: where fewer than two
    samples for each are left at the end, too few for batch norm, these join the batch before. A
    `sampler` of another class gives the same order to all processes, and to a resumed one.
    """

    sampler: Any

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool, is_fixed: bool) -> None:
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
        order, count = self.order(seed, epoch), self.count(skip)
        n_of_all = self.batch_size * self.world_size
        for index in range(count):
            start = skip + index * n_of_all
            is_last = index == count - 1 and not self.drop_last
            n = len(self.sampler) - start if is_last else n_of_all
            low = start + n * self.rank // self.world_size
            high = start + n * (self.rank + 1) // self.world_size
            if low < high:
                positions.append((high - low, n / self.world_size, start + n))
                yield SeededBatch(order[low:high], (seed, epoch, start // n_of_all, self.rank))

    def order(self, seed: int, epoch: int) -> Any:
        """The samples of a pass in their order: a tensor of indices, or a list of what they are."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.set_epoch(seed, epoch)
            return self.sampler.order()
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)  # as in torch
        with preserved_random_state():
            seed_cpu(derive_seed(seed, epoch))
            if (generator := getattr(self.sampler, "generator", None)) is not None:
                generator.manual_seed(derive_seed(seed, epoch))
            return list(self.sampler)


class SeededBatch(list):
    """The indices of a batch. Taking them one by one seeds Python, NumPy and torch for each sample.

    What is random about a sample is so a function of (seed, epoch, index), in whatever process it
    is made. A data set that makes whole batches in `__getitems__` can use `seed`, a function of
    (seed, epoch, number of the batch, rank of the process), and `tensor`, the indices as one.
    """

    def __init__(self, indices: Any, place: tuple[int, int, int, int]) -> None:
        is_tensor = isinstance(indices, torch.Tensor)
        super().__init__(indices.tolist() if is_tensor else indices)
        self.place = place
        self.seed = derive_seed("batch", *place)
        if is_tensor:
            self.tensor = indices

    @cached_property
    def tensor(self) -> torch.Tensor:
        return torch.tensor(self[:])

    def __iter__(self) -> Iterator[Any]:
        seed, epoch, *_ = self.place
        used: Iterable = CPU_GENERATORS
        with preserved_random_state():
            for position, index in enumerate(super().__iter__()):
                own = derive_seed(seed, epoch, index) if used else None
                for set_seed, _ in used:
                    set_seed(own)
                yield index
                if position == 0:  # to seed takes time: only what the first sample has drawn from
                    next_numbers = [draw() for _, draw in used]
                    for set_seed, _ in used:
                        set_seed(own)
                    used = [one for one, n in zip(used, next_numbers, strict=True) if one[1]() != n]

    def __reduce__(self) -> tuple:  # how it goes to a worker: without being taken one by one
        return SeededBatch, (self[:], self.place)


def derive_seed(*numbers: Any) -> int:
    """One 64-bit seed from several numbers; (1, 2) and (2, 1) give unrelated ones."""
    digest = blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
