"""Which samples are held out for validation."""

from typing import Any

import torch
from torch.utils.data import IterableDataset

from utils.errors import UserError


def refuse_mistakes(dataset: Any, sampler: Any, shuffle: bool, options: dict[str, Any]) -> None:
    """Raises UserError for what a BaseDataLoader, or a DataLoader with `options`, cannot do."""
    if not (isinstance(dataset, IterableDataset) or hasattr(dataset, "__len__")):
        raise UserError(f"data_loader: a {type(dataset).__name__} has no __len__")
    if isinstance(dataset, IterableDataset) and shuffle:
        raise UserError("data_loader: a stream shuffles by itself: shuffle = false")
    if sampler is not None and not hasattr(sampler, "__len__"):
        raise UserError(f"data_loader: the sampler, a {type(sampler).__name__}, has no length")
    if options.get("timeout") and not options["num_workers"]:
        raise UserError("data_loader: timeout is for workers: num_workers must be 1 or more")


def count_held_out(n_samples: int, split: float) -> int:
    """How many samples go to validation; UserError where it, or training, would have none.

    `split` is a fraction of the samples or, if it is an int, their number.
    """
    if n_samples == 0:
        raise UserError("data_loader: the data set has no samples")
    count = split if type(split) is int else int(n_samples * split)
    if not 0 <= count < n_samples or (split > 0 and count == 0):
        raise UserError(
            f"validation_split = {split}: must be 0, or a fraction or number that leaves at "
            f"least one of the {n_samples} samples on either side"
        )
    return count


def split_indices(n_samples: int, split: float, seed: int) -> tuple[Any, Any]:
    """The indices for training and, unless `split` is 0, those for validation, else None."""
    if (count := count_held_out(n_samples, split)) == 0:
        return range(n_samples), None
    numbers = torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed))
    return numbers[count:].sort().values, numbers[:count].sort().values
