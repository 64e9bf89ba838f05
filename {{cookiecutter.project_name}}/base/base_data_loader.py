"""The base of all data loaders: change it for another split. base/sampler.py makes the batches.

`BaseDataLoader` splits off a validation set, `EpochDataLoader` knows how much of a pass is done.
"""

import atexit
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import default_collate

from base.sampler import EpochBatchSampler, EpochSampler, SeededSamples
from utils.check import Range
from utils.command_line import end_workers, start_worker
from utils.errors import UserError, in_full
from utils.extras import find_hook
from utils.samples import refuse_mistakes, split_indices

MANY = 1_000_000  # samples: tools/permutation.py makes no list of more
OF_ORDER = ("batch_size", "shuffle", "sampler", "drop_last")  # options of a DataLoader


def to_device(batch: Any, device: torch.device) -> Any:
    """The same batch with every tensor in its tuples, lists and dicts on `device`."""
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        moved = [to_device(value, device) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch


class SamplePasses:
    """The passes over samples that `sampler` puts into batches, and how much was given out."""

    def __init__(self, samples: SeededSamples, sampler: Any, options: dict[str, Any]) -> None:
        self.samples, self.sampler, self.collate_fn = samples, sampler, options["collate_fn"]
        self.loader = DataLoader(samples, batch_sampler=sampler, **options)
        self.set_epoch(seed=0, epoch=0)

    def set_epoch(self, seed: int, epoch: int, samples: int = 0) -> None:
        """Let the next pass be this one, after its first `samples` of all processes."""
        self.sampler.set_epoch(seed, epoch, samples)
        self.place = seed, epoch, samples

    @property
    def state(self) -> dict[str, Any]:
        """How much of which pass was given out: the same in all processes, for any number."""
        order = getattr(self.sampler.sampler, "order_name", "own")
        return dict(zip(("seed", "epoch", "samples"), self.place, strict=True)) | {"order": order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of this one; UserError for an order that is not there."""
        if state.get("order") == "feistel" != self.state["order"]:
            raise UserError(f"data_loader: an order of many samples: {in_full()}")
        self.set_epoch(state["seed"], state["epoch"], state["samples"])

    def __iter__(self) -> Iterator[tuple[Any, int, float]]:
        """Each batch, the number of its samples, and that of a process on average."""
        seed, epoch, positions = self.sampler.seed, self.sampler.epoch, None
        if self.loader.num_workers or self.loader.pin_memory:
            batches: Any = iter(self.loader)
        else:  # the short way
            batches = map(self.collate_fn, map(self.samples.__getitems__, self.sampler))
        for batch in batches:
            positions = self.sampler.positions if positions is None else positions
            n, mean, done = positions.popleft()
            self.place = seed, epoch, done
            yield batch, n, mean


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
        if isinstance(dataset, IterableDataset):
            make_passes = find_hook("stream_passes", "data_loader: a stream")
            self._passes: Any = make_passes(self, is_fixed, options)
        else:
            sampler = EpochBatchSampler(self.sampler, self.batch_size, self.drop_last, is_fixed)
            if batch_sampler is not None:
                sampler = find_hook("own_batches", "data_loader: a batch_sampler")(batch_sampler)
            # DataLoader refuses to set batch_sampler later; as an argument it hides batch_size
            self.__dict__["batch_sampler"] = sampler
            self._passes = SamplePasses(SeededSamples(dataset, is_fixed), sampler, options)
        atexit.register(end_workers)

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
        return self._passes.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of that in which a `state_dict` was taken."""
        self._passes.load_state_dict(state)


class BaseDataLoader(EpochDataLoader):
    """Base of all data loaders: a `DataLoader` that splits off a validation set.

    `validation_split` is a fraction of the samples (0.1) or their number (500); the split follows
    `split_seed`. `valid_dataset` holds the same samples without the training transforms. Raises
    UserError where the arguments do not go together or give no batch. The hints serve configs too.
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
            "pin_memory": num_workers > 0 and torch.cuda.is_available(),
            "persistent_workers": num_workers > 0,
        } | options
        options |= {"batch_size": batch_size, "num_workers": num_workers, "collate_fn": collate_fn}
        refuse_mistakes(dataset, sampler, options)
        self.shuffle, self.validation_split, self.split_seed = shuffle, validation_split, split_seed
        is_stream = isinstance(dataset, IterableDataset)
        if validation_split and (is_stream or sampler is not None or batch_sampler is not None):
            raise UserError("data_loader: a stream or a sampler goes with validation_split = 0")
        self.n_samples = 0 if is_stream else len(dataset)  # 0: nobody knows
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
        of_many = find_hook("parts_of_many") if self.n_samples > MANY else None
        make, sampler = of_many() if of_many else (split_indices, EpochSampler)
        train, valid = make(self.n_samples, split, self.split_seed)
        self.n_samples = len(train)
        return sampler(train, self.shuffle), None if valid is None else sampler(valid, False)

    def split_validation(self) -> EpochDataLoader | None:
        """A loader of the validation part, or stream, in a fixed order; None if there is none."""
        held_out = self.init_kwargs["dataset"]
        has_stream = isinstance(self.dataset, IterableDataset) and held_out is not self.dataset
        if self.valid_sampler is None and not has_stream:
            return None
        return EpochDataLoader(sampler=self.valid_sampler, is_fixed=True, **self.init_kwargs)
