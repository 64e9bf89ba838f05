"""The data loaders: classes for `data_loader.type` in the config to name."""

from typing import Any

import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from data_loader.diamonds import encode, read_diamonds
from utils.files import project_path


class DiamondsDataLoader(BaseDataLoader):
    """Diamonds as (B, 26) numbers and their (B,) prices in thousands of dollars."""

    @staticmethod
    def prepare(row: dict[str, str]) -> torch.Tensor:
        """For predict.py: what the model takes for a row of a table like data/diamonds.csv."""
        return torch.tensor(encode(row))

    def __init__(
        self,
        path: str = "data/diamonds.csv",
        batch_size: int = 64,
        shuffle: bool = True,
        validation_split: int | float = 0.1,
        num_workers: int = 0,
        training: bool = True,
        **options: Any,
    ) -> None:
        inputs, prices = read_diamonds(project_path(path), "train" if training else "test")
        dataset = TensorDataset(inputs, prices)
        super().__init__(dataset, batch_size, shuffle, validation_split, num_workers, **options)
