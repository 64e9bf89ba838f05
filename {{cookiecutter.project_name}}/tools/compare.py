"""Comparing the states in two checkpoints."""

from typing import Any

import torch


def first_difference(a: Any, b: Any, path: str = "") -> str | None:
    """Where two states of tensors and plain types first differ, bit by bit; None where nowhere."""
    if type(a) is not type(b):
        return f"{path}: a {type(a).__name__} and a {type(b).__name__}"
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{path}: keys {list(a)} and {list(b)}"
        pairs = [(f"{path}.{key}".strip("."), a[key], b[key]) for key in a]
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{path}: {len(a)} and {len(b)} elements"
        pairs = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(a, b, strict=True))]
    elif isinstance(a, torch.Tensor):
        a, b = a.cpu(), b.cpu()
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return None if same else f"{path}: largest difference {largest(a, b)}"
    else:
        return None if a == b or a != a and b != b else f"{path}: {a} and {b}"
    return next((found for one in pairs if (found := first_difference(*one[1:], one[0]))), None)


def largest(a: torch.Tensor, b: torch.Tensor) -> float | str:
    return (a.double() - b.double()).abs().max().item() if a.shape == b.shape else "of shape"
