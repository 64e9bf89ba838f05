"""The base of all data loaders. Read it to change how data are split or counted.

`EpochDataLoader` knows which samples come when; `BaseDataLoader` splits off a validation set.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import default_collate

from base.sampler import EpochBatchSampler, EpochSampler, OwnBatchSampler
from utils.check import Range
from utils.errors import UserError
from utils.samples import SeededSamples, start_worker
from utils.signals import end_workers_at_exit
from utils.split import refuse_mistakes, split_indices

MANY = 1_000_000  # samples: of more there is no list
OF_ORDER = ("batch_size", "shuffle", "sampler", "drop_last")  # options of a DataLoader


class EpochDataLoader(DataLoader):
    """A `DataLoader` whose passes are functions of (seed, epoch), and which knows where it is.

    After a batch, `n_samples_in_batch` is the number of its samples in this process, and
    `n_samples_mean` that in a process on average. `state_dict` says what has been given out,
    whatever workers have fetched beyond that. `is_fixed`: each pass is the same, for validation.
    """

    batch_size: int
    n_samples_in_batch, n_samples_mean = 0, 0.0

    def __init__(
        self, dataset: Any, batch_sampler: Any = None, is_fixed: bool = False, **options: Any
    ) -> None:
        super().__init__(dataset, generator=torch.Generator(), **options)
        kind = EpochBatchSampler if batch_sampler is None else OwnBatchSampler
        own = self.sampler if batch_sampler is None else batch_sampler
        # DataLoader refuses to set batch_sampler later; as an argument, it would hide batch_size
        sampler = kind(own, self.batch_size, self.drop_last, is_fixed)
        self.__dict__["batch_sampler"] = sampler
        options = {key: value for key, value in options.items() if key not in OF_ORDER}
        options |= {"worker_init_fn": partial(start_worker, self.worker_init_fn)}
        self._samples = SeededSamples(dataset, is_fixed)
        self._loader = DataLoader(
            self._samples, batch_sampler=sampler, generator=torch.Generator(), **options
        )
        self._state = self._next_state()
        end_workers_at_exit()

    def __iter__(self) -> Any:
        state, positions = self._next_state(), None
        if self.num_workers or self.pin_memory:
            batches = iter(self._loader)
        else:  # the short way
            make = self._samples.__getitems__
            batches = (self.collate_fn(make(indices)) for indices in self.batch_sampler)
        for batch in batches:
            positions = self.batch_sampler.positions if positions is None else positions
            self.n_samples_in_batch, self.n_samples_mean, done = positions.popleft()
            self._state = state | {"samples": done}
            yield batch

    def _next_state(self) -> dict[str, Any]:
        sampler = self.batch_sampler
        place = {"seed": sampler.seed, "epoch": sampler.epoch, "samples": sampler.samples}
        return place | {"order": getattr(sampler.sampler, "order_name", "own")}

    def set_epoch(self, seed: int, epoch: int, samples: int = 0) -> None:
        """Make the next pass that of (seed, epoch), after its first `samples` of all processes.

        Without a call, each pass is that of the next epoch, with seed 0.
        """
        self.batch_sampler.set_epoch(seed, epoch, samples)
        self._state = self._next_state()

    def state_dict(self) -> dict[str, Any]:
        """How much of which pass was given out: the same in all processes, and for any number."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of that in which a `state_dict` was taken."""
        self.set_epoch(state["seed"], state["epoch"], state["samples"])


class BaseDataLoader(EpochDataLoader):
    """Base of all data loaders: a `DataLoader` that splits off a validation set.

    `validation_split` is a fraction of the samples (0.1) or their number (500); the split is the
    same in every run with the same `split_seed`. `valid_dataset` holds the same samples for
    validation, without the training transforms. `sampler` gives the training samples in an order of
    its own, `batch_sampler` in batches of its own; further `options` go to `DataLoader`. The global
    random state is left alone. Raises UserError where the arguments do not go together or give no
    batch. A config is checked against these hints in subclasses too.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: Annotated[int, Range(1)],
        shuffle: bool,
        validation_split: Annotated[int, Range(0)] | Annotated[float, Range(0, below=1)],
        num_workers: Annotated[int, Range(0)],
        collate_fn: Callable = default_collate,
        *,
        valid_dataset: Any = None,
        split_seed: int = 0,
        sampler: Any = None,
        batch_sampler: Any = None,
        **options: Any,
    ) -> None:
        options = {
            "batch_size": batch_size,
            "collate_fn": collate_fn,
            "num_workers": num_workers,
            "pin_memory": num_workers > 0 and torch.cuda.is_available(),
            "persistent_workers": num_workers > 0,
        } | options
        refuse_mistakes(dataset, sampler, options)
        self.shuffle, self.validation_split, self.split_seed = shuffle, validation_split, split_seed
        self.n_samples = len(dataset)
        self.order = "randperm" if self.n_samples <= MANY else "feistel"
        self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        if sampler is not None or batch_sampler is not None:
            if validation_split:
                raise UserError("data_loader: a sampler goes with validation_split = 0")
            self.sampler = sampler
        held_out = dataset if valid_dataset is None else valid_dataset
        self.init_kwargs = {"dataset": held_out, **options}
        self.init_kwargs.pop("drop_last", None)  # validation has every sample
        options["shuffle"] = shuffle and self.sampler is None and batch_sampler is None
        try:
            super().__init__(dataset, batch_sampler, sampler=self.sampler, **options)
        except ValueError as error:  # options that do not go together
            raise UserError(f"data_loader: {error}") from None
        if len(self) == 0:
            raise UserError(f"batch_size = {batch_size}: {self.n_samples} samples give no batch")

    def _split_sampler(self, split: float) -> tuple[Any, Any]:
        """The samplers of the training part and, unless `split` is 0, of the validation part."""
        train, valid = split_indices(self.n_samples, split, self.split_seed, self.order)
        self.n_samples = len(train)
        valid_sampler = None if valid is None else EpochSampler(valid, False, self.order)
        return EpochSampler(train, self.shuffle, self.order), valid_sampler

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As above; where a run began with another order and split, they stay its own."""
        order = state.get("order", "randperm")  # older versions had no other
        if order not in (self.order, "own") and isinstance(self.sampler, EpochSampler):
            self.order, self.n_samples = order, len(self.dataset)
            new = self._split_sampler(self.validation_split)
            for mine, other in zip((self.sampler, self.valid_sampler), new, strict=True):
                if mine is not None:
                    vars(mine).update(vars(other))
        super().load_state_dict(state)

    def split_validation(self) -> EpochDataLoader | None:
        """A loader of the validation part, in a fixed order; None if there is none."""
        if self.valid_sampler is None:
            return None
        return EpochDataLoader(sampler=self.valid_sampler, is_fixed=True, **self.init_kwargs)
