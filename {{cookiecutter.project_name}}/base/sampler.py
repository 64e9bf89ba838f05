"""Which samples a batch has, and what is random about them, as functions of the seed."""

from functools import cached_property
from itertools import chain, repeat

import torch
from torch.utils.data import BatchSampler, Sampler

from utils import distributed
from utils.seed import CPU_GENERATORS, derive_seed, preserved_random_state


class EpochSampler(Sampler):
    """The given indices, in order or shuffled: the order is a function of (seed, epoch)."""

    def __init__(self, indices, shuffle):
        self.indices = torch.as_tensor(indices)
        self.shuffle = shuffle
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed, epoch):
        self.seed, self.epoch = seed, epoch

    def order(self):
        if not self.shuffle:
            return self.indices
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        return self.indices[torch.randperm(len(self.indices), generator=generator)]

    def __iter__(self):
        return iter(self.order().tolist())

    def __len__(self):
        return len(self.indices)


class EpochBatchSampler(BatchSampler):
    """The batches of (seed, epoch), the first `skip` samples left out; then, of the next epoch.

    Of several processes each has its part of every batch, so that a batch of all is `batch_size`
    times their number. In training all have the same number of batches: where less than one sample
    for each is left over at the end, these join the batch before.
    """

    def __init__(self, sampler, batch_size, drop_last, is_fixed=False):
        super().__init__(sampler, batch_size, drop_last)
        self.is_fixed = is_fixed  # every pass is that of the same epoch, as for validation
        self.rank, self.size = distributed.rank(), distributed.size()
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed, epoch, skip=0):
        self.seed, self.epoch, self.skip = seed, epoch, skip

    def count(self, skip=0):
        """How many batches there are after the first `skip` samples of an epoch."""
        left = max(0, len(self.sampler) - skip)
        full, rest = divmod(left, self.batch_size * self.size)
        is_enough = rest >= self.size or (self.is_fixed and rest > 0)
        return full + (is_enough and not self.drop_last)

    def bounds(self, index, skip=0):
        """The places in an epoch where batch `index` after `skip` samples begins and ends."""
        start = skip + index * self.batch_size * self.size
        end = start + self.batch_size * self.size
        is_last = index == self.count(skip) - 1
        return start, len(self.sampler) if is_last and not self.drop_last else end

    def __len__(self):
        return self.count()

    def __iter__(self):
        seed, epoch, skip = self.seed, self.epoch, self.skip
        self.set_epoch(seed, epoch + (not self.is_fixed))
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(seed, epoch)
        is_own = isinstance(self.sampler, EpochSampler)  # else they may be no numbers
        order = self.sampler.order() if is_own else list(self.sampler)
        listed = order.tolist() if is_own else order
        shares = [self.share(*self.bounds(index, skip)) for index in range(self.count(skip))]
        tensors = order.tensor_split([*chain(*shares)])[1::2] if is_own else repeat(None)
        first = skip // (self.batch_size * self.size)
        for number, ((low, high), tensor) in enumerate(zip(shares, tensors, strict=False), first):
            if low < high:
                yield SeededBatch(listed[low:high], (seed, epoch, number, self.rank), tensor)

    def share(self, start, end):
        """The places of a batch that are of this process."""
        size, rank = end - start, self.rank
        return start + size * rank // self.size, start + size * (rank + 1) // self.size


class SeededBatch(list):
    """The indices of a batch. Taking them one by one seeds Python, NumPy and torch for each sample.

    What is random about a sample is so a function of (seed, epoch, index), in whatever process it
    is made. A data set that makes whole batches in `__getitems__` can use `seed`, a function of
    (seed, epoch, number of the batch, rank of the process), and `tensor`, the indices as one.
    """

    def __init__(self, indices, place, tensor=None):
        super().__init__(indices)
        self.place = place
        if tensor is not None:
            self.tensor = tensor

    @cached_property
    def tensor(self):
        return torch.tensor(self[:])

    @property
    def seed(self):
        return derive_seed("batch", *self.place)

    def __iter__(self):
        seed, epoch, *_ = self.place
        used = CPU_GENERATORS
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

    def __reduce__(self):  # how it goes to a worker: without being taken one by one
        return SeededBatch, (self[:], self.place)
