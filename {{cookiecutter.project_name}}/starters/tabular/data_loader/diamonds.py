"""The table of diamonds as numbers: those that are measured, and a 0 or 1 for each category."""

import csv
from pathlib import Path

import torch

from utils.errors import UserError

NUMBERS = ["carat", "depth", "table", "x", "y", "z"]
CATEGORIES = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": ["D", "E", "F", "G", "H", "I", "J"],
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}


def read_diamonds(path: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and prices in thousands of dollars, of the rows that belong to "train" or "test".

    Raises UserError where the table cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["part"] == part]
    except OSError as error:
        raise UserError(f"data_loader.args.path: {path}: {error.strerror}") from None
    inputs = torch.tensor([encode(row) for row in rows])
    return inputs, torch.tensor([float(row["price"]) / 1000 for row in rows])


def encode(row: dict[str, str]) -> list[float]:
    """A row as numbers. They are not normalised yet: that is up to the model."""
    numbers = [float(row[name]) for name in NUMBERS]
    flags = [float(row[name] == value) for name, values in CATEGORIES.items() for value in values]
    return numbers + flags
