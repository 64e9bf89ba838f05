"""The models: classes for `arch.type` in the config to name."""

import torch
from torch import nn

from base import BaseModel


class TabularModel(BaseModel):
    """(B, n_inputs) numbers of any scale -> (B,) numbers.

    The inputs are normalised here, not in the data: the means and deviations are then those of the
    training part alone, and go with the weights to wherever the model is used.
    """

    def __init__(self, n_inputs: int = 26, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.normalise = Normalise(n_inputs)
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.normalise(x)).squeeze(1)


class Normalise(nn.Module):
    """Brings each input to mean 0 and deviation 1, as measured on all training batches so far."""

    n: torch.Tensor
    mean: torch.Tensor
    squares: torch.Tensor

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("squares", torch.zeros(n_inputs))  # sum of squares around the mean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.measure(x)
        deviation = (self.squares / self.n.clamp(min=1)).sqrt()
        return (x - self.mean) / torch.where(deviation > 0, deviation, 1)

    @torch.no_grad()
    def measure(self, x: torch.Tensor) -> None:
        self.n += len(x)
        before = x - self.mean
        self.mean += before.sum(dim=0) / self.n
        self.squares += (before * (x - self.mean)).sum(dim=0)
