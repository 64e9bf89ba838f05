"""Which samples a batch has and what is random about them, as a function of the seed.

`EpochSampler` gives the order of a pass, `EpochBatchSampler` cuts it into the batches of this
process, `SeededSamples` makes the samples. Change it for another order of the data.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any

import torch
from torch.utils.data import BatchSampler, Dataset, Sampler, get_worker_info
from torch.utils.data.dataloader import default_collate, default_convert

from utils import distributed
from utils.seed import CPU_GENERATORS, preserved_random_state, seed_cpu

ODD, MOST = 0x9E3779B97F4A7C15, 2**64 - 1  # seeds of neighbours have little in common


def derive_seed(*numbers: Any) -> int:
    """One 64-bit seed from several numbers; (1, 2) and (2, 1) give unrelated ones."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=8).digest(), "little")


def sample_seed(base: int, index: Any) -> int:
    """The seed for a sample: faster than `derive_seed`, which takes any index."""
    return (base + index * ODD) & MOST if type(index) is int else derive_seed(base, index)


class EpochSampler(Sampler):
    """The given indices, in order or shuffled: the order is a function of `seed`."""

    order_name = "randperm"
    seed = 0  # a batch sampler sets that of each epoch

    def __init__(self, indices: Any, shuffle: bool) -> None:
        self.indices, self.shuffle = torch.as_tensor(indices), shuffle

    def order(self) -> Any:
        """The indices in this order; `order[a:b]` are some of them."""
        if not self.shuffle:
            return self.indices
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(self.indices), generator=generator)
        return torch.as_tensor(self.indices)[order]  # a loader may have set a list

    def __iter__(self) -> Iterator[int]:
        return iter(torch.as_tensor(self.order()[:]).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class EpochBatchSampler(BatchSampler):
    """The batches of this process in a pass, which is a function of (seed, epoch).

    Of several processes each has its part of every batch, on average `batch_size` samples. In
    training, fewer than two for each at the end, too few for batch norm, join the batch before.
    The next pass is that of the next epoch, or the same again if it `is_fixed`, as for validation.
    """

    sampler: Any

    def __init__(
        self, sampler: Any, batch_size: int, drop_last: bool = False, is_fixed: bool = False
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.is_fixed = is_fixed
        self.rank, self.world_size = distributed.rank(), distributed.world_size()
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int, samples: int = 0) -> None:
        """Let the next pass be this one, from that sample on."""
        self.seed, self.epoch, self.samples = seed, epoch, samples
        self.position = {"seed": seed, "epoch": epoch, "samples": samples}  # of what is given out

    def state_dict(self) -> dict[str, Any]:
        """How much of which pass was given out: the same in all processes, for any number."""
        return self.position | {"order": getattr(self.sampler, "order_name", "own")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of this one."""
        self.set_epoch(state["seed"], state["epoch"], state["samples"])

    def count(self, skip: int = 0) -> int:
        """How many batches there are after the first `skip` samples of an epoch."""
        left, n = max(0, len(self.sampler) - skip), self.world_size
        full, rest = divmod(left, self.batch_size * n)
        n_least = 1 if self.is_fixed or n == 1 else n * (2 if full else 1)
        return full if self.drop_last or rest < n_least else full + 1

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator["SeededBatch"]:
        batches = self.rest_of_pass()
        while some := [*islice(batches, 16)]:  # one by one, between steps, takes twice as long
            yield from some

    def rest_of_pass(self) -> Iterator["SeededBatch"]:
        seed, epoch, skip = self.seed, self.epoch, self.samples
        self.epoch, self.samples = epoch if self.is_fixed else epoch + 1, 0
        order = self.order(seed, epoch)
        may_repeat = not isinstance(self.sampler, EpochSampler)  # an index
        for number, start, stop in self.cuts(skip):
            n = stop - start
            low = start + n * self.rank // self.world_size
            high = start + n * (self.rank + 1) // self.world_size
            if high > low:
                position = {"seed": seed, "epoch": epoch, "samples": stop}
                info = (high - low, n / self.world_size, position)
                seeded_by = range(low, high) if may_repeat else None
                key = (seed, epoch, number, self.rank)
                yield SeededBatch(order[low:high], key, info, seeded_by)

    def cuts(self, skip: int) -> Iterator[tuple[int, int, int]]:
        """Of each batch of all processes its number, and its samples from, to."""
        n_of_all = self.batch_size * self.world_size
        last = skip + (self.count(skip) - 1) * n_of_all
        for start in range(skip, last + 1, n_of_all):
            takes_rest = start == last and not self.drop_last
            yield start // n_of_all, start, len(self.sampler) if takes_rest else start + n_of_all

    def order(self, seed: int, epoch: int) -> Any:
        """The samples of a pass in their order, or what a sampler of another class gives."""
        seed = derive_seed(seed, epoch)
        if isinstance(self.sampler, EpochSampler):
            self.sampler.seed = seed
            return self.sampler.order()
        with preserved_random_state():
            seed_cpu(seed)
            sampler = self.sampler
            while sampler is not None:  # a batch sampler has one inside
                if hasattr(sampler, "set_epoch"):
                    sampler.set_epoch(epoch)  # as in torch
                if isinstance(own := getattr(sampler, "generator", None), torch.Generator):
                    own.manual_seed(seed)
                sampler = getattr(sampler, "sampler", None)
            return list(self.sampler)


class SeededBatch(list):
    """The indices of a batch; taken one by one, Python, NumPy and torch are seeded for each sample.

    What is random about a sample is so a function of (seed, epoch, index), or of (seed, epoch,
    position) where a sampler of your own may give an index twice. A data set that makes whole
    batches can use `seed`, of (seed, epoch, number of the batch, rank), and maybe `tensor`.
    """

    def __init__(self, indices: Any, key: tuple, info: tuple, seeded_by: Any = None) -> None:
        if isinstance(indices, torch.Tensor):
            self.tensor, indices = indices, indices.tolist()
        super().__init__(indices)
        self.key, self.info, self.seeded_by = key, info, seeded_by
        self.seed = derive_seed("batch", *key)
        self.drawn: list[Any] = []  # the generators that samples are known to draw from

    def __iter__(self) -> Iterator[Any]:
        base = derive_seed("samples", *self.key[:2])
        others = [one for one in CPU_GENERATORS if one not in self.drawn]
        with preserved_random_state():
            for set_seed, _, _ in others:  # to seed these for each sample too would take long
                set_seed(0)
            for index, number in zip(self[:], self.seeded_by or self[:], strict=True):
                for set_seed, _, _ in self.drawn:
                    set_seed(sample_seed(base, number))
                yield index
            self.drawn += [(s, draw, first) for s, draw, first in others if draw() != first]

    def __reduce__(self) -> tuple:  # how it goes to a worker
        return SeededBatch, (self[:], self.key, self.info, self.seeded_by)


class SeededSamples(Dataset):
    """What makes the batches of a data set, here or in a worker, each with its `info`."""

    collate_fn: Callable  # a loader says it

    def __init__(self, dataset: Any, is_fixed: bool) -> None:
        self.dataset, self.is_fixed = dataset, is_fixed
        self.epoch: int | None = None  # that the data set was told
        self.drawn: list[Any] = []

    def __getitems__(self, batch: SeededBatch) -> tuple:
        epoch, n_drawn = batch.key[1], len(self.drawn)
        if epoch != self.epoch and not self.is_fixed and hasattr(self.dataset, "set_epoch"):
            self.epoch = epoch
            self.dataset.set_epoch(epoch)
        batch.drawn = self.drawn
        if get_worker_info():  # else what makes whole batches draws from the loop's random numbers
            seed_cpu(batch.seed)
        make = getattr(self.dataset, "__getitems__", None)
        samples = make(batch) if make else [self.dataset[index] for index in batch]
        if len(self.drawn) > n_drawn:  # a generator was found that is to be seeded too
            return self.__getitems__(batch)
        is_whole = not isinstance(samples, list)  # and not what a Subset gives, one by one
        if is_whole or self.collate_fn in (default_collate, default_convert):
            return self.collate_fn(samples), *batch.info
        with preserved_random_state():
            seed_cpu(batch.seed)
            data = self.collate_fn(samples)
        from utils.inferred import count_kept  # few data sets need it

        kept = count_kept(samples, data, batch.info[0])  # in the mean too, or all are asked for it
        return data, kept, kept if distributed.world_size() == 1 else 0.0, batch.info[-1]
