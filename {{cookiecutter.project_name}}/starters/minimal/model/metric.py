"""Metrics: functions of (output, target) that give the mean over the batch, best as a tensor.

A metric that is no mean of batches is a class with `update(output, target)`, `compute()` and
`reset()`, as in torchmetrics.
"""

import torch


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if (found := output.argmax(dim=1)).shape != target.shape:  # which broadcasting might let pass
        raise ValueError(f"accuracy: targets of shape {tuple(target.shape)} are no class numbers")
    return (found == target).float().mean()
