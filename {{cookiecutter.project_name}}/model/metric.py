"""Metrics: functions of (output, target) that give the mean over the batch, best as a tensor.

A metric that is no mean of batches is a class with `update(output, target)`, `compute()` and
`reset()`, as in torchmetrics.
"""

import torch


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if (found := output.argmax(dim=1)).shape != target.shape:  # which broadcasting might let pass
        raise ValueError(f"accuracy: targets of shape {tuple(target.shape)} are no class numbers")
    return (found == target).float().mean()


def top_k_acc(output: torch.Tensor, target: torch.Tensor, k: int = 3) -> torch.Tensor:
    """How often the target, a class number, is among the k classes with the highest scores."""
    if target.shape != output.shape[:1] + output.shape[2:]:
        raise ValueError(f"top_k_acc: targets of shape {tuple(target.shape)} are no class numbers")
    return (output.topk(k, dim=1).indices == target[:, None]).any(dim=1).float().mean()
