"""The data loaders: classes for `data_loader.type` in the config to name."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from utils.errors import UserError
from utils.files import project_path


class ArrayDataLoader(BaseDataLoader):
    """The arrays train_inputs and train_targets of an .npz file, or those that begin with test_."""

    @staticmethod
    def prepare(row: Any) -> torch.Tensor:
        """For predict.py: what the model takes for a row of an array."""
        return torch.as_tensor(row).float()

    def __init__(
        self,
        path: str = "data/penguins.npz",
        batch_size: int = 32,
        shuffle: bool = True,
        validation_split: int | float = 0.2,
        num_workers: int = 0,
        training: bool = True,
        **options: Any,
    ) -> None:
        part = "train" if training else "test"
        try:
            with np.load(project_path(path)) as arrays:
                inputs = torch.from_numpy(arrays[f"{part}_inputs"]).float()
                targets = torch.from_numpy(arrays[f"{part}_targets"])
        except (OSError, KeyError) as error:
            raise UserError(f"data_loader.args.path: {error}") from None
        dataset = TensorDataset(inputs, targets)
        super().__init__(dataset, batch_size, shuffle, validation_split, num_workers, **options)
