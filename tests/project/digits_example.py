"""Parts for the tests of the core, which stay green so whatever becomes of the project's own parts.

The digits are real ones, 1,500 and 297 held-out images of 8 x 8 grey values: E. Alpaydin and
C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import trainer
from base import BaseDataLoader, BaseModel
from data_loader import data_loaders
from model import metric, model

CONFIG = Path(__file__).with_suffix(".json")
DIGITS = Path(__file__).with_name("digits.npz")


class DigitsModel(BaseModel):
    """(B, 1, 8, 8) images -> (B, num_classes) logits."""

    def __init__(self, num_classes=10, dropout=0.25):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, num_classes)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout(x.flatten(1))
        return self.fc2(F.relu(self.fc1(x)))


class DigitsDataLoader(BaseDataLoader):
    def __init__(
        self,
        batch_size=64,
        shuffle=True,
        validation_split=0.1,
        num_workers=0,
        training=True,
        path=str(DIGITS),
        layout: Literal["image", "row"] = "image",
        **options,
    ):
        part = "train" if training else "test"
        with np.load(path) as arrays:
            images = torch.from_numpy(arrays[f"{part}_images"])[:, None] / 16 - 0.3
            labels = torch.from_numpy(arrays[f"{part}_labels"]).long()
        digits = TensorDataset(images if layout == "image" else images.flatten(1), labels)
        super().__init__(digits, batch_size, shuffle, validation_split, num_workers, **options)


def accuracy(output, target):
    return (output.argmax(dim=1) == target).float().mean()


def top_k_acc(output, target, k=3):
    return (output.topk(k, dim=1).indices == target[:, None]).any(dim=1).float().mean()


PARTS = [
    (model, DigitsModel),
    (data_loaders, DigitsDataLoader),
    (metric, accuracy),
    (metric, top_k_acc),
]


def install(set_attribute=setattr):
    """Let a config name the parts above as if they stood in model/ and data_loader/."""
    for module, part in PARTS:
        set_attribute(module, part.__name__, part)
        set_attribute(part, "__module__", module.__name__)
    set_attribute(trainer, "Trainer", trainer.trainer.Trainer)


def main():
    """As train.py, for tests that need a process of its own."""
    import train

    install()
    train.main()
