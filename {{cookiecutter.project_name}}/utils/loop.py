from typing import NamedTuple

from utils.errors import UserError

NO_BATCH = "the data loader gives no batch"


def inf_loop(data_loader):
    """The batches of endless passes over `data_loader`."""
    while True:
        is_empty = True
        for batch in data_loader:
            is_empty = False
            yield batch
        if is_empty:
            raise UserError(NO_BATCH)


class Place(NamedTuple):
    """Where in the data a batch begins."""

    number: int = 0  # of the pass
    samples: int = 0  # of the pass that came before it


class Stream:
    """How far a run is in endless passes over a loader with `set_epoch`.

    Pass n is the same in every run with this seed, and what lies before `place` is not loaded.
    """

    def __init__(self, seed):
        self.seed = seed
        self.sampler = None
        self._before = 0
        self._start, self._done = Place(), 0

    def begin(self, place):
        """Let the next batch be the one at `place`."""
        self._before = self.samples
        self._start, self._done = Place(*place), 0

    @property
    def mark(self):
        """What `place_of` takes: the place of the next batch, not yet worked out."""
        return self._start, self._done

    @property
    def place(self):
        return self.place_of(self.mark)

    def place_of(self, mark):
        (number, skip), done = mark
        return Place(number, self.sampler.bounds(done - 1, skip)[1] if done else skip)

    @property
    def samples(self):
        """How many have come so far, in all processes."""
        return self._before + self.place.samples - self._start.samples

    def rest_of_pass(self, data_loader):
        """The batches from `place` to the end of its pass."""
        self.begin(self.place)  # which may be one with batches of another size before it
        self.sampler = data_loader.batch_sampler
        data_loader.set_epoch(self.seed, *self._start)
        for batch in data_loader:
            self._done += 1
            yield batch
        if self._done == self._start.samples == 0:
            raise UserError(NO_BATCH)

    def endless(self, data_loader):
        while True:
            yield from self.rest_of_pass(data_loader)
            self.begin(Place(self._start.number + 1))
