"""Which samples a batch has, and what is random about them, as functions of the seed."""

from itertools import islice

import torch
from torch.utils.data import BatchSampler, Sampler

from utils.seed import CPU_GENERATORS, derive_seed, preserved_random_state


class EpochSampler(Sampler):
    """The given indices, in order or shuffled: the order is a function of (seed, epoch)."""

    def __init__(self, indices, shuffle):
        self.indices = torch.as_tensor(indices)
        self.shuffle = shuffle
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed, epoch):
        self.seed, self.epoch = seed, epoch

    def __iter__(self):
        order = self.indices
        if self.shuffle:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
            order = order[torch.randperm(len(order), generator=generator)]
        return iter(order.tolist())

    def __len__(self):
        return len(self.indices)


class EpochBatchSampler(BatchSampler):
    """The batches of (seed, epoch) from batch number `start` on; then, those of the next epoch."""

    def __init__(self, sampler, batch_size, drop_last, is_fixed=False):
        super().__init__(sampler, batch_size, drop_last)
        self.is_fixed = is_fixed  # every pass is that of the same epoch
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed, epoch, start=0):
        self.seed, self.epoch, self.start = seed, epoch, start

    def __iter__(self):
        seed, epoch, start = self.seed, self.epoch, self.start
        self.set_epoch(seed, epoch + (not self.is_fixed))
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(seed, epoch)
        for number, indices in enumerate(islice(super().__iter__(), start, None), start):
            yield SeededBatch(indices, seed, epoch, number)


class SeededBatch(list):
    """The indices of a batch. Taking them one by one seeds Python, NumPy and torch for each sample.

    What is random about a sample is so a function of (seed, epoch, index), in whatever process it
    is made. A data set that makes whole batches in `__getitems__` can use `seed`, a function of
    (seed, epoch, number of the batch).
    """

    def __init__(self, indices, seed, epoch, number):
        super().__init__(indices)
        self.place = seed, epoch, number

    @property
    def seed(self):
        return derive_seed("batch", *self.place)

    def __iter__(self):
        seed, epoch, _ = self.place
        used = CPU_GENERATORS
        with preserved_random_state():
            for position, index in enumerate(super().__iter__()):
                for set_seed, _ in used:
                    set_seed(derive_seed(seed, epoch, index))
                before = [get_state() for _, get_state in used] if position == 0 else None
                yield index
                if position == 0:  # to seed takes time: only what the first sample has drawn from
                    after = [get_state() for _, get_state in used]
                    used = [one for one, a, b in zip(used, before, after, strict=True) if a != b]

    def __reduce__(self):  # how it goes to a worker: without being taken one by one
        return SeededBatch, (self[:], *self.place)
