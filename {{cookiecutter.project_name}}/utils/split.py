"""Which samples are held out for validation."""

from typing import Any

import torch

from utils.errors import UserError


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
