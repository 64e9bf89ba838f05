import torch
from torch.nn.utils.rnn import pad_sequence

from base import BaseDataLoader
from data_loader.names import LANGUAGES, NamesDataset, read_names
from utils.files import project_path


class NamesDataLoader(BaseDataLoader):
    """Batches of names, padded with zeros to the longest in the batch, and their languages."""

    classes = LANGUAGES

    def __init__(
        self,
        path="data/names.csv",
        batch_size=64,
        shuffle=True,
        validation_split=0.1,
        num_workers=0,
        training=True,
        **options,
    ):
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


def pad_batch(samples):
    """Names of different length -> (B, longest) letter numbers, (B,) language numbers."""
    names, languages = zip(*samples, strict=True)
    return pad_sequence(names, batch_first=True), torch.tensor(languages)
