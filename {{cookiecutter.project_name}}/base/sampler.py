"""Which samples a batch has, as a function of the seed: read it to change the order of the data.

`EpochSampler` gives the order of a pass; the others cut it into the batches of this process.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, Sampler

from utils import distributed
from utils.permutation import Permutation
from utils.samples import SeededBatch
from utils.seed import derive_seed, preserved_random_state, seed_cpu


class EpochSampler(Sampler):
    """The given indices, in order or shuffled: the order is a function of (seed, epoch).

    In the order "feistel" they are a range or a Permutation, and no list is made of them.
    """

    def __init__(self, indices: Any, shuffle: bool, order: str = "randperm") -> None:
        self.indices = torch.as_tensor(indices) if order == "randperm" else indices
        self.shuffle, self.order_name = shuffle, order
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        self.seed, self.epoch = seed, epoch

    def order(self) -> Any:
        """The indices in the order of this epoch; `order[a:b]` are some of them."""
        if not self.shuffle:
            return self.indices
        seed, n = derive_seed(self.seed, self.epoch), len(self.indices)
        if self.order_name == "feistel":
            return Permutation(n, seed, of=self.indices)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        return torch.as_tensor(self.indices)[order]  # a loader may have set a list

    def __iter__(self) -> Iterator[int]:
        return iter(torch.as_tensor(self.order()[:]).tolist())

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

    def __iter__(self) -> Iterator[SeededBatch]:
        seed, epoch, skip = self.seed, self.epoch, self.samples
        self.set_epoch(seed, epoch + (not self.is_fixed))
        positions = self.positions = deque()
        for number, start, stop, own in self.parts(self.order(seed, epoch), skip):
            if n := len(own):
                positions.append((n, (stop - start) / self.world_size, stop))
                yield SeededBatch(own, (seed, epoch, number, self.rank))

    def parts(self, order: Any, skip: int) -> Iterator[tuple[int, int, int, Any]]:
        """Of each batch of all processes: its number, its samples from, to, and those for here."""
        count, n_of_all = self.count(skip), self.batch_size * self.world_size
        for index in range(count):
            start = skip + index * n_of_all
            is_last = index == count - 1 and not self.drop_last
            n = len(self.sampler) - start if is_last else n_of_all
            low = start + n * self.rank // self.world_size
            high = start + n * (self.rank + 1) // self.world_size
            yield start // n_of_all, start, start + n, order[low:high]

    def order(self, seed: int, epoch: int) -> Any:
        """The samples of a pass in their order, or what a sampler of another class gives."""
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


class OwnBatchSampler(EpochBatchSampler):
    """The batches of a batch sampler of another class, one for each process in turn.

    Where the last are fewer than the processes, each has its part of what is left.
    """

    def count(self, skip: int = 0) -> int:
        return -(-len(self.sampler) // self.world_size)

    def parts(self, order: Any, skip: int) -> Iterator[tuple[int, int, int, Any]]:
        n, start = self.world_size, 0
        groups = [order[i : i + n] for i in range(0, len(order) // n * n, n)]
        if rest := [sample for batch in order[len(groups) * n :] for sample in batch]:
            shares = [rest[len(rest) * i // n : len(rest) * (i + 1) // n] for i in range(n)]
            if groups and len(rest) < 2 * n:
                groups[-1] = [
                    [*batch, *share] for batch, share in zip(groups[-1], shares, strict=True)
                ]
            else:
                groups.append(shares)
        for number, group in enumerate(groups):
            stop = start + sum(map(len, group))
            if start >= skip:
                yield number, start, stop, group[self.rank]
            start = stop
