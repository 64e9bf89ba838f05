"""The base of all data loaders. Read it to change how data are split or counted.

`EpochDataLoader` knows which samples come when; `BaseDataLoader` splits off a validation set.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Annotated, Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import default_collate

from base.sampler import EpochBatchSampler, EpochSampler, OwnBatchSampler
from utils.check import Range
from utils.errors import UserError
from utils.extras import load_callbacks
from utils.samples import SamplePasses, SeededSamples, start_worker
from utils.signals import end_workers_at_exit
from utils.split import refuse_mistakes, split_indices

MANY = 1_000_000  # samples: of more there is no list
OF_ORDER = ("batch_size", "shuffle", "sampler", "drop_last")  # options of a DataLoader


class EpochDataLoader(DataLoader):
    """A `DataLoader` whose passes are functions of (seed, epoch), and which knows where it is.

    After a batch, `n_samples_in_batch` is the number of its samples in this process, and
    `n_samples_mean` that in a process on average. All passes of one that `is_fixed` are the same.
    """

    batch_size: int
    n_samples_in_batch: int | None = None  # where a subclass makes its batches by itself
    n_samples_mean = 0.0

    def __init__(
        self, dataset: Any, batch_sampler: Any = None, is_fixed: bool = False, **options: Any
    ) -> None:
        super().__init__(dataset, generator=torch.Generator(), **options)
        options = {key: value for key, value in options.items() if key not in OF_ORDER}
        options |= {"generator": torch.Generator(), "collate_fn": self.collate_fn}
        options["worker_init_fn"] = partial(start_worker, self.worker_init_fn)
        self._passes: Any
        if isinstance(dataset, IterableDataset):
            found = [one for one in load_callbacks() if hasattr(one, "stream_passes")]
            if not found:
                raise UserError("data_loader: tools/streams.py reads streams: size=full has it")
            self._passes = found[0].stream_passes(self, is_fixed, options)
        else:
            kind = EpochBatchSampler if batch_sampler is None else OwnBatchSampler
            own = self.sampler if batch_sampler is None else batch_sampler
            # DataLoader refuses to set batch_sampler later; as an argument it hides batch_size
            sampler = kind(own, self.batch_size, self.drop_last, is_fixed)
            self.__dict__["batch_sampler"] = sampler
            self._passes = SamplePasses(SeededSamples(dataset, is_fixed), sampler, options)
        end_workers_at_exit()

    def __iter__(self) -> Any:
        try:
            for batch, n, mean in self._passes:
                self.n_samples_in_batch, self.n_samples_mean = n, mean
                yield batch
        except UserError as error:  # in a worker it is given a traceback
            raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Make the next pass that of (seed, epoch); without a call it is the next, with seed 0."""
        self._passes.set_epoch(seed, epoch)

    def state_dict(self) -> dict[str, Any]:
        """How much of which pass was given out, whatever workers have fetched beyond that."""
        return deepcopy(self._passes.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of that in which a `state_dict` was taken."""
        self._passes.load_state_dict(state)


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
        refuse_mistakes(dataset, sampler, shuffle, options)
        self.shuffle, self.validation_split, self.split_seed = shuffle, validation_split, split_seed
        is_stream = isinstance(dataset, IterableDataset)
        if validation_split and (is_stream or sampler is not None or batch_sampler is not None):
            raise UserError("data_loader: a stream or a sampler goes with validation_split = 0")
        self.n_samples = 0 if is_stream else len(dataset)  # 0: nobody knows
        self.order = "randperm" if self.n_samples <= MANY else "feistel"
        self.sampler, self.valid_sampler = sampler, None
        if not is_stream and sampler is batch_sampler:  # there is none
            self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        held_out = dataset if valid_dataset is None else valid_dataset
        self.init_kwargs = {"dataset": held_out, **options}
        self.init_kwargs.pop("drop_last", None)  # validation has every sample
        options["shuffle"] = shuffle and self.sampler is None and batch_sampler is None
        try:
            super().__init__(dataset, batch_sampler, False, sampler=self.sampler, **options)
        except ValueError as error:  # options that do not go together
            raise UserError(f"data_loader: {error}") from None
        if not is_stream and len(self) == 0:
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
            self.order, self.n_samples = order, len(self.dataset)  # type: ignore[arg-type]
            new = self._split_sampler(self.validation_split)
            for mine, other in zip((self.sampler, self.valid_sampler), new, strict=True):
                if mine is not None:
                    vars(mine).update(vars(other))
        super().load_state_dict(state)

    def split_validation(self) -> EpochDataLoader | None:
        """A loader of the validation part, or stream, in a fixed order; None if there is none."""
        held_out = self.init_kwargs["dataset"]
        has_stream = isinstance(self.dataset, IterableDataset) and held_out is not self.dataset
        if self.valid_sampler is None and not has_stream:
            return None
        return EpochDataLoader(sampler=self.valid_sampler, is_fixed=True, **self.init_kwargs)
