"""Which samples are held out for validation."""

from typing import Any

import torch
from torch.utils.data import IterableDataset

from utils.errors import UserError


def count_samples(dataset: Any, sampler: Any, options: dict[str, Any]) -> int:
    """How many samples a data set has. Raises UserError for what a BaseDataLoader cannot work with.

    `options` are those of a DataLoader; torch finds some of their mistakes in the first batch.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        kind = type(dataset).__name__
        how = "give it to torch's DataLoader, or make it a Dataset with __len__ and __getitem__"
        raise UserError(f"data_loader: a BaseDataLoader takes no {kind} without a length: {how}")
    if sampler is not None and not hasattr(sampler, "__len__"):
        raise UserError(f"data_loader: the sampler, a {type(sampler).__name__}, has no length")
    if options.get("timeout") and not options["num_workers"]:
        raise UserError("data_loader: timeout is for workers: num_workers must be 1 or more")
    return len(dataset)


def split_indices(n_samples: int, split: float, seed: int) -> tuple[Any, torch.Tensor | None]:
    """The indices for training and, unless `split` is 0, those for validation, each in order.

    `split` is a fraction of the samples or, if it is an int, their number. Raises UserError where
    one of the two would have no sample.
    """
    if n_samples == 0:
        raise UserError("data_loader: the data set has no samples")
    count = split if type(split) is int else int(n_samples * split)
    if not 0 <= count < n_samples or (split > 0 and count == 0):
        raise UserError(
            f"validation_split = {split}: must be 0, or a fraction or number that leaves at "
            f"least one of the {n_samples} samples on either side"
        )
    if split == 0:
        return range(n_samples), None
    order = torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed))
    valid, train = order[:count].sort().values, order[count:].sort().values
    return train, valid
