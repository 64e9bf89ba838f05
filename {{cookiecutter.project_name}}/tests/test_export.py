"""What export.py writes gives, in the hands of other libraries, what the model gives."""

import json
import sys

import pytest
import torch
from torch import nn

from base import BaseModel
from export import main
from utils import checkpoint


class CannotBeExported(BaseModel):
    """Takes batches of two alone."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.linear = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.linear(x.reshape(2, -1))


@pytest.fixture
def trained(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    return trainer


@pytest.fixture
def path(trained):
    return trained.checkpoint_dir / "model_best.pth"


@pytest.fixture
def export(path, capsys):
    """Run export.py on the checkpoint; the status, standard output and errors."""

    def run(*arguments):
        status = 0
        try:
            main(["-r", str(path), *map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run
