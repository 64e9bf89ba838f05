"""Batches of a `batch_sampler` of your own, in a BaseDataLoader."""

from collections.abc import Iterator
from itertools import accumulate, chain, pairwise
from typing import Any

from base.sampler import EpochBatchSampler
from utils.errors import UserError


def own_batches(batch_sampler: Any) -> EpochBatchSampler:
    """What gives its batches to the processes, and goes on with them in a resumed run."""
    return OwnBatchSampler(batch_sampler, batch_size=1)


class OwnBatchSampler(EpochBatchSampler):
    """The batches of a batch sampler of another class; each process has its part of every batch."""

    def count(self, skip: int = 0) -> int:
        return len(self.sampler)

    def order(self, seed: int, epoch: int) -> Any:
        batches = super().order(seed, epoch)
        self.bounds = [0, *accumulate(map(len, batches))]
        return [*chain(*batches)]

    def cuts(self, skip: int) -> Iterator[tuple[int, int, int]]:
        for number, (start, stop) in enumerate(pairwise(self.bounds)):
            if (n := stop - start) < self.world_size:
                raise UserError(
                    f"data_loader: a batch of {n} samples for {self.world_size} processes"
                )
            if start >= skip:
                yield number, start, stop
