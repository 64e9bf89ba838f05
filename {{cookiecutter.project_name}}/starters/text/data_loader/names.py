"""Family names as sequences of letter numbers, and the languages that they are from."""

import csv
from pathlib import Path

import torch
from torch.utils.data import Dataset

from utils.errors import UserError

LANGUAGES = ["Croatian", "Dutch", "English", "German", "Italian", "Slovak", "Spanish"]
LETTERS = "abcdefghijklmnopqrstuvwxyzßàáäçèéìíñóôöúüýćčďđľňšťž"
PADDING, UNKNOWN, EDGE = 0, 1, 2  # EDGE stands before the first letter and after the last
N_CHARACTERS = 3 + len(LETTERS)  # what arch.args.n_characters has to be


class NamesDataset(Dataset):
    """A name as a sequence of the numbers of its letters, and the number of its language."""

    def __init__(self, names: list[str], languages: list[str]) -> None:
        self.names = [encode(name) for name in names]
        self.languages = [LANGUAGES.index(language) for language in languages]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.names[index], self.languages[index]


def encode(name: str) -> torch.Tensor:
    """(L,) numbers of the letters of a name, with an edge before and after."""
    numbers = {letter: number for number, letter in enumerate(LETTERS, start=3)}
    return torch.tensor([EDGE, *(numbers.get(one, UNKNOWN) for one in name.lower()), EDGE])


def read_names(path: Path, part: str) -> tuple[list[str], list[str]]:
    """The names and their languages in the rows of a table that belong to "train" or "test".

    Raises UserError where the table cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["part"] == part]
    except OSError as error:
        raise UserError(f"data_loader.args.path: {path}: {error.strerror}") from None
    return [row["name"] for row in rows], [row["language"] for row in rows]
