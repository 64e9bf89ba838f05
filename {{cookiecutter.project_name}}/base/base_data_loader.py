import atexit
import signal
from multiprocessing import active_children
from typing import Annotated

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import default_collate

from base.sampler import EpochBatchSampler, EpochSampler
from utils.check import Range
from utils.errors import UserError
from utils.signals import ignore_stop_signals


class BaseDataLoader(DataLoader):
    """Base of all data loaders: a `DataLoader` that splits off a validation set.

    `validation_split` is a fraction of the samples (0.1) or their number (500); the split is the
    same in every run with the same `split_seed`. `valid_dataset` holds the same samples for
    validation, without the training transforms. Further `options` go to `DataLoader` as they are.
    The loader draws from generators of its own and leaves the global random state alone.

    A config is checked against these hints also where a subclass has arguments of the same names.
    """

    def __init__(
        self,
        dataset,
        batch_size: Annotated[int, Range(1)],
        shuffle: bool,
        validation_split: Annotated[int, Range(0)] | Annotated[float, Range(0, below=1)],
        num_workers: Annotated[int, Range(0)],
        collate_fn=default_collate,
        *,
        valid_dataset=None,
        split_seed=0,
        **options,
    ):
        options = {
            "worker_init_fn": ignore_stop_signals,
            "pin_memory": torch.cuda.is_available(),  # makes copies to a GPU faster
            "persistent_workers": num_workers > 0,
        } | options
        self.shuffle = shuffle
        self.validation_split = validation_split
        self.split_seed = split_seed
        self.n_samples = len(dataset)
        self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        self.init_kwargs = {
            "dataset": dataset if valid_dataset is None else valid_dataset,
            "batch_size": batch_size,
            "collate_fn": collate_fn,
            "num_workers": num_workers,
            **options,
        }
        self.init_kwargs.pop("drop_last", None)  # validation has every sample
        try:
            super().__init__(
                dataset,
                batch_size,
                shuffle=self.shuffle and self.sampler is None,  # of a _split_sampler of one's own
                sampler=self.sampler,
                collate_fn=collate_fn,
                num_workers=num_workers,
                generator=torch.Generator(),
                **options,
            )
        except ValueError as error:  # options that do not go together
            raise UserError(f"data_loader: {error}") from None
        _seed_batches(self)
        if len(self) == 0:
            raise UserError(f"batch_size = {batch_size}: {self.n_samples} samples give no batch")

    def _split_sampler(self, split):
        """The samplers of the training part and, unless `split` is 0, of the validation part."""
        if self.n_samples == 0:
            raise UserError("data_loader: the data set has no samples")
        count = split if type(split) is int else int(self.n_samples * split)
        if not 0 <= count < self.n_samples or (split > 0 and count == 0):
            raise UserError(
                f"validation_split = {split}: must be 0, or a fraction or number that leaves at "
                f"least one of the {self.n_samples} samples on either side"
            )
        if split == 0:
            return EpochSampler(range(self.n_samples), self.shuffle), None
        generator = torch.Generator().manual_seed(self.split_seed)
        order = torch.randperm(self.n_samples, generator=generator)
        valid, train = order[:count].sort().values, order[count:].sort().values
        self.n_samples = len(train)
        return EpochSampler(train, self.shuffle), EpochSampler(valid, shuffle=False)

    def split_validation(self):
        """A loader of the validation part, in a fixed order; None if there is none."""
        if self.valid_sampler is None:
            return None
        generator = torch.Generator()
        loader = DataLoader(sampler=self.valid_sampler, generator=generator, **self.init_kwargs)
        return _seed_batches(loader, is_fixed=True)

    def __iter__(self):
        """Batches that the data set makes whole, without workers, take the short way."""
        if self.num_workers or self.pin_memory or not hasattr(self.dataset, "__getitems__"):
            return super().__iter__()
        make = self.dataset.__getitems__
        return (self.collate_fn(make(indices)) for indices in self.batch_sampler)

    def set_epoch(self, seed, epoch, skip=0):
        """Make the next pass the one that belongs to (seed, epoch), after its first `skip` samples.

        Without a call, each pass is that of the next epoch, with seed 0.
        """
        self.batch_sampler.set_epoch(seed, epoch, skip)


def _seed_batches(loader, is_fixed=False):
    sampler = EpochBatchSampler(loader.sampler, loader.batch_size, loader.drop_last, is_fixed)
    # Given to DataLoader as an argument, it would take the place of batch_size, sampler and
    # drop_last, which trainers read; set as an attribute, DataLoader would refuse it.
    loader.__dict__["batch_sampler"] = sampler
    atexit.register(_end_workers)
    return loader


def _end_workers():
    """Before the interpreter ends workers by SIGTERM, which they ignore, and waits for them."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # that of DataLoader would raise an error
    for worker in active_children():
        if worker.daemon:
            worker.kill()
