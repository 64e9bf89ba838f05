"""Family names as sequences of letter numbers, and the languages that they are from."""

import csv

import torch
from torch.utils.data import Dataset

from utils.errors import UserError

LANGUAGES = ["Croatian", "Dutch", "English", "German", "Italian", "Slovak", "Spanish"]
LETTERS = "abcdefghijklmnopqrstuvwxyzßàáäçèéìíñóôöúüýćčďđľňšťž"
PADDING, UNKNOWN, EDGE = 0, 1, 2  # EDGE stands before the first letter and after the last
N_CHARACTERS = 3 + len(LETTERS)  # what arch.args.n_characters has to be


class NamesDataset(Dataset):
    """A name as a sequence of the numbers of its letters, and the number of its language."""

    def __init__(self, names, languages):
        self.names = [encode(name) for name in names]
        self.languages = [LANGUAGES.index(language) for language in languages]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.names[index], self.languages[index]


def encode(name):
    numbers = {letter: number for number, letter in enumerate(LETTERS, start=3)}
    return torch.tensor([EDGE, *(numbers.get(one, UNKNOWN) for one in name.lower()), EDGE])


def read_names(path, part):
    """The names and their languages in the rows of a table that belong to "train" or "test"."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["part"] == part]
    except OSError as error:
        raise UserError(f"data_loader.args.path: {path}: {error.strerror}") from None
    return [row["name"] for row in rows], [row["language"] for row in rows]
