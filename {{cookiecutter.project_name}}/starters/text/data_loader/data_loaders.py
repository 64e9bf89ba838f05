"""The data loaders: classes for `data_loader.type` in the config to name."""

from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from base import BaseDataLoader
from data_loader.names import LANGUAGES, NamesDataset, encode, read_names
from utils.files import project_path


class NamesDataLoader(BaseDataLoader):
    """Batches of names, padded with zeros to the longest in the batch, and their languages."""

    classes = LANGUAGES  # what predict.py calls the outputs of the model

    @staticmethod
    def prepare(name: str | dict[str, str]) -> torch.Tensor:
        """For predict.py: what the model takes for a name, or for a row of a table of names."""
        return encode(name if isinstance(name, str) else name["name"])

    @staticmethod
    def collate(names: list[torch.Tensor]) -> torch.Tensor:
        """For predict.py: what the model takes for several prepared names."""
        return pad_sequence(names, batch_first=True)

    def __init__(
        self,
        path: str = "data/names.csv",
        batch_size: int = 64,
        shuffle: bool = True,
        validation_split: int | float = 0.1,
        num_workers: int = 0,
        training: bool = True,
        **options: Any,
    ) -> None:
        names, languages = read_names(project_path(path), "train" if training else "test")
        super().__init__(
            NamesDataset(names, languages),
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            collate_fn=pad_batch,
            **options,
        )


def pad_batch(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Names of different length -> (B, longest) letter numbers, (B,) language numbers."""
    names, languages = zip(*samples, strict=True)
    return pad_sequence([*names], batch_first=True), torch.tensor(languages)
