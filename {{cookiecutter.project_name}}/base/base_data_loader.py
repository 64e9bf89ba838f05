"""The base of all data loaders: change it for another split. base/sampler.py makes the batches."""

import atexit
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import default_collate

from base.sampler import EpochBatchSampler, EpochSampler, SeededSamples
from utils.check import Range
from utils.command_line import end_workers, start_worker
from utils.errors import UserError
from utils.extras import find_hook
from utils.seed import split_indices

MANY = 1_000_000  # samples: tools/permutation.py makes no list of more


def to_device(batch: Any, device: torch.device | str) -> Any:
    """The batch with every tensor in its tuples, lists and dicts on a GPU; for a CPU, as it is."""
    if torch.device(device).type == "cpu":
        return batch
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        moved = [to_device(value, device) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch


class BaseDataLoader(DataLoader):
    """Base of all data loaders: a `DataLoader` that splits off a validation set.

    `validation_split` is a fraction of the samples (0.1) or their number (500); the split follows
    `split_seed`. `valid_dataset` holds the same samples without the training transforms. All passes
    are the same if it `is_fixed`. Raises UserError where the arguments do not go together or give
    no batch. The hints serve configs too.

    After a batch, `n_samples_in_batch` is the number of its samples in this process, and
    `n_samples_mean` that in a process on average.
    """

    n_samples_in_batch: int | None = None  # where a subclass makes its batches by itself
    n_samples_mean = 0.0
    _loader: Any = None  # makes the batches, if not of a stream

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
        drop_last: bool = False,
        is_fixed: bool = False,
        **options: Any,
    ) -> None:
        is_stream = isinstance(dataset, IterableDataset)
        is_own = sampler is not None or batch_sampler is not None
        if validation_split and (is_stream or is_own):
            raise UserError("data_loader: a stream or a sampler goes with validation_split = 0")
        for part in (dataset, sampler):
            if not (part is None or is_stream or hasattr(part, "__len__")):
                raise UserError(f"data_loader: a {type(part).__name__} has no length")
        options |= {"num_workers": num_workers, "collate_fn": collate_fn}
        options.setdefault("persistent_workers", num_workers > 0)
        options.setdefault("pin_memory", num_workers > 0 and torch.cuda.is_available())
        held_out = dataset if valid_dataset is None else valid_dataset
        self.init_kwargs = {"dataset": held_out, "batch_size": batch_size, **options}
        self.shuffle, self.validation_split, self.split_seed = shuffle, validation_split, split_seed
        self.n_samples = 0 if is_stream else len(dataset if sampler is None else sampler)
        self.sampler, self.valid_sampler = sampler, None
        if not (is_stream or is_own):
            self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        is_plain = self.sampler is None and batch_sampler is None  # as of a stream
        order: Any = {"shuffle": shuffle and is_plain, "sampler": self.sampler}
        try:
            super().__init__(dataset, batch_size, drop_last=drop_last, **order, **options)
        except ValueError as error:  # options that do not go together
            raise UserError(f"data_loader: {error}") from None
        options["generator"] = torch.Generator()  # else workers' seeds are drawn from the loop's
        options["worker_init_fn"] = partial(start_worker, self.worker_init_fn)
        atexit.register(end_workers)
        if is_stream:
            make_passes = find_hook("stream_passes", "data_loader: a stream")
            self._passes: Any = make_passes(self, is_fixed, options)
            return
        self._passes = EpochBatchSampler(self.sampler, batch_size, drop_last, is_fixed)
        if batch_sampler is not None:
            self._passes = find_hook("own_batches", "data_loader: a batch_sampler")(batch_sampler)
        # DataLoader refuses to set batch_sampler later; as an argument it hides batch_size
        self.__dict__["batch_sampler"] = self._passes
        options["collate_fn"] = tuple  # what SeededSamples gives stays as it is
        samples = SeededSamples(dataset, is_fixed)
        self._loader = DataLoader(samples, batch_sampler=self._passes, **options)
        if len(self) == 0:
            raise UserError(f"batch_size = {batch_size}: {self.n_samples} samples give no batch")

    def _split_sampler(self, split: float) -> tuple[Any, Any]:
        """The samplers of the training part and, unless `split` is 0, of the validation part."""
        if split and (n := len(self.init_kwargs["dataset"])) != self.n_samples:
            raise UserError(f"data_loader: valid_dataset has {n} samples, not {self.n_samples}")
        of_many = find_hook("parts_of_many") if self.n_samples > MANY else None
        make, sampler = of_many() if of_many else (split_indices, EpochSampler)
        train, valid = make(self.n_samples, split, self.split_seed)
        self.n_samples = len(train)
        return sampler(train, self.shuffle), sampler(valid, False) if len(valid) else None

    def split_validation(self) -> "BaseDataLoader | None":
        """A loader of the validation part, or stream, in a fixed order; None if there is none."""
        held_out = self.init_kwargs["dataset"]
        has_stream = isinstance(self.dataset, IterableDataset) and held_out is not self.dataset
        if self.valid_sampler is None and not has_stream:
            return None
        order: Any = {"shuffle": False, "sampler": self.valid_sampler, "is_fixed": True}
        order["collate_fn"] = self.collate_fn  # a subclass may have set another
        return BaseDataLoader(validation_split=0, **(self.init_kwargs | order))

    def __iter__(self) -> Any:
        items: Any = self._passes
        if self._loader is not None:
            samples = self._loader.dataset
            samples.collate_fn = self.collate_fn  # a subclass may have set another
            is_plain = not (self.num_workers or self.pin_memory)  # then there is a shorter way
            items = map(samples.__getitems__, self._passes) if is_plain else self._loader
        for batch, n, n_mean, self._passes.position in items:
            vars(self).update(n_samples_in_batch=n, n_samples_mean=n_mean)  # as to set each is slow
            yield batch

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Make the next pass that of (seed, epoch); without a call it is the next, with seed 0."""
        self._passes.set_epoch(seed, epoch)

    def state_dict(self) -> dict[str, Any]:
        """How much of which pass was given out, whatever workers have fetched beyond that."""
        return self._passes.state_dict() | {"of": [self.n_samples, self.split_seed]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of that in which a `state_dict` was taken."""
        self._passes.load_state_dict(state)
