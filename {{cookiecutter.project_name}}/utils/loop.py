from itertools import count
from typing import NamedTuple

from utils.errors import UserError


class Place(NamedTuple):
    """Where in the data a batch begins: the samples of its pass that came before it."""

    number: int = 0  # of the pass
    batch: int = 0
    samples: int = 0


def inf_loop(data_loader, seed=0, place=None):
    """The batches of endless passes over `data_loader`, from `place` on.

    A loader with `set_epoch` is told each pass, so that batch n is the same batch in every run with
    this seed, and those before `place` are not loaded. Any other loader starts at its beginning.
    """
    if not hasattr(data_loader, "set_epoch"):
        while True:
            is_empty = True
            for batch in data_loader:
                is_empty = False
                yield batch
            if is_empty:
                raise UserError("the data loader gives no batch any more")
    first, batch, samples = place or Place()
    for number in count(first):
        data_loader.set_epoch(seed, number, batch, samples)
        yield from data_loader
        batch = samples = 0


class Stream:
    """Where the batches of a run, numbered from 0, lie in endless passes over the data.

    Those from number `first` on, which lies at `start`, are as large as the sampler says now: those
    before may have had another size, or have been those of another number of processes.
    """

    def __init__(self, sampler):
        self.sampler = sampler
        self.begin(0, Place())

    def begin(self, first, start):
        self.first, self.start = first, Place(*start)

    def left(self):
        """How many batches the pass has from `start` on."""
        return self.sampler.count(self.start.samples)

    def place(self, n):
        index, (number, batch, skip), left = n - self.first, self.start, self.left()
        if index <= left:
            return Place(number, batch + index, self.sampler.bounds(index - 1, skip)[1])
        passes, index = divmod(index - left - 1, self.sampler.count())
        return Place(number + 1 + passes, index + 1, self.sampler.bounds(index)[1])

    def samples(self, begin, end):
        """How many samples all processes have in the batches from `begin` to before `end`."""
        first, last = self.place(begin), self.place(end)
        total = last.samples - first.samples
        for number in range(first.number, last.number):
            skip = self.start.samples if number == self.start.number else 0
            total += self.sampler.bounds(self.sampler.count(skip) - 1, skip)[1]
        return total
