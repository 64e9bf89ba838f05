"""Metrics: functions of (output, target) that give the mean over the batch, best as a tensor.

A metric that is no mean of batches is a class with `update(output, target)`, `compute()` and
`reset()`, as in torchmetrics.
"""

from typing import Any

import torch


def mae(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean absolute error."""
    return (output - target).abs().mean()


class R2:
    """The share of the targets' variance that the output explains, over all samples seen.

    1 is perfect; 0 is what the mean of the targets would give.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # Of ones, targets, their squares, the squared errors
        self.sums = torch.zeros(4, dtype=torch.float64)

    def update(self, output: torch.Tensor, target: torch.Tensor) -> None:
        target, error = target.double(), (output - target).double()
        each = torch.stack([torch.ones_like(target), target, target**2, error**2])
        self.sums = self.sums.to(each.device) + each.sum(dim=1)

    def merge(self, state: dict[str, Any]) -> None:
        """Take in what another process has seen: the attributes of its metric."""
        self.sums = self.sums + state["sums"]

    def compute(self) -> torch.Tensor:
        n, targets, squares, errors = self.sums
        return 1 - errors / (squares - targets**2 / n)
