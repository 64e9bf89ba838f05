"""The models: classes for `arch.type` in the config to name."""

import torch
from torch import nn

from base import BaseModel


class LinearModel(BaseModel):
    """(B, n_inputs) -> (B, n_outputs), after each input was brought to mean 0 and deviation 1."""

    def __init__(self, n_inputs: int = 4, n_outputs: int = 3) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(n_inputs, affine=False)  # learns both from what it trains on
        self.linear = nn.Linear(n_inputs, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.scale(x))
