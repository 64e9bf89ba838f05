"""Metrics: functions of (output, target) that give the mean over the batch, best as a tensor.

A metric that is no mean of batches is a class with `update(output, target)`, `compute()` and
`reset()`, as in torchmetrics.
"""

from typing import Any

import torch
import torch.nn.functional as F


class FrechetDistance:
    """How far made images (the output) are from real ones (the target), as two clouds of points.

    Each image is a point: its mean grey values in a grid of `size` x `size` fields. Each cloud is
    described by its mean and covariance, and the distance is that of Heusel et al. (2017), who take
    the features of a large network for points. It sees images that are too alike or of the wrong
    shape; fine detail it does not see. The lower, the better.
    """

    def __init__(self, size: int = 7) -> None:
        self.size = size
        self.reset()

    def reset(self) -> None:
        # Sums of all products of two coordinates, of which one is 1
        self.made = self.real = torch.zeros(())

    def update(self, output: torch.Tensor, target: torch.Tensor) -> None:
        self.made = self.made + self.products(output)
        self.real = self.real + self.products(target)

    def merge(self, state: dict[str, Any]) -> None:
        """Take in what another process has seen: the attributes of its metric."""
        self.made, self.real = self.made + state["made"], self.real + state["real"]

    def products(self, images: torch.Tensor) -> torch.Tensor:
        points = F.adaptive_avg_pool2d(images, self.size).flatten(1).double()
        points = F.pad(points, [1, 0], value=1)
        return points.T @ points

    def compute(self) -> torch.Tensor:
        (made_mean, made), (real_mean, real) = map(mean_and_covariance, (self.made, self.real))
        root = square_root(made)
        overlap = square_root(root @ real @ root).trace()
        return (made_mean - real_mean).square().sum() + (made + real).trace() - 2 * overlap


def mean_and_covariance(products: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = products[0, 1:] / products[0, 0]
    return mean, products[1:, 1:] / products[0, 0] - mean.outer(mean)


def square_root(matrix: torch.Tensor) -> torch.Tensor:
    """That of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
