"""What a run can tell by itself, as long as nobody says it: the samples of a batch, the task."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from utils.errors import UserError


def lengths_in(batch: Any) -> set[int]:
    """The numbers of samples that the fields of a batch seem to have.

    A tensor has as many as its first dimension is long, a list or tuple inside of the batch as it
    has elements, packed sequences as many as their first batch size.
    """
    is_tuple = isinstance(batch, (list, tuple)) and not hasattr(batch, "batch_sizes")
    fields = batch.values() if isinstance(batch, Mapping) else batch if is_tuple else [batch]
    lengths = set()
    for field in fields:
        if hasattr(field, "batch_sizes"):  # a PackedSequence
            lengths.add(int(field.batch_sizes[0]))
        elif isinstance(field, (list, tuple)) or getattr(field, "ndim", 0) > 0:
            lengths.add(len(field))
    return lengths


def count_kept(samples: Any, batch: Any, n: int) -> int:
    """How many of n samples are in a batch: not those that are None, if it is as long as that."""
    kept = n - sum(one is None for one in samples) if isinstance(samples, list) else n
    lengths = {len(x) for x in tree_leaves(batch) if getattr(x, "ndim", 0) > 0} if kept < n else {n}
    return kept if kept in lengths and n not in lengths else n


def count_samples(batch: Any) -> int:
    """The number of samples in a batch. Raises UserError where its fields do not agree on one."""
    lengths = lengths_in(batch)
    if len(lengths) != 1:
        how = "override Trainer.batch_size to say how many samples a batch has"
        found = " or ".join(map(str, sorted(lengths))) or "no tensor in it"
        raise UserError(f"a batch does not tell how many samples it has ({found}): {how}")
    return lengths.pop()


TASKS = {  # by the losses of PyTorch that make them certain
    "multiclass": "cross_entropy CrossEntropyLoss nll_loss NLLLoss",
    "regression": "mse_loss MSELoss l1_loss L1Loss smooth_l1_loss SmoothL1Loss "
    "huber_loss HuberLoss",
    "binary": "binary_cross_entropy_with_logits BCEWithLogitsLoss binary_cross_entropy BCELoss",
}


def interpret(config: Any, criterion: Any, outputs: torch.Tensor) -> tuple[str, torch.Tensor]:
    """The task, and outputs as probabilities where it has some; UserError where they do not fit."""
    if not isinstance(outputs, torch.Tensor):
        how = "a tensor, or in eval mode a dict of columns, makes rows"
        raise UserError(f"the model gives a {type(outputs).__name__}: {how}")
    loss = criterion.func if isinstance(criterion, partial) else type(criterion)
    name = loss.__name__ if loss.__module__.startswith("torch.") else ""  # else it may be any loss
    n = outputs.shape[1] if outputs.ndim > 1 else 1  # classes or labels
    found = next((task for task, losses in TASKS.items() if name in losses.split()), "none")
    task = config["task"] or ("multilabel" if found == "binary" and n != 1 else found)
    if (task == "binary" and n != 1) or (task == "multiclass" and n == 1):
        shape = tuple(outputs.shape[1:])
        raise UserError(f"task = {task!r}: does not fit outputs of {shape} for a sample")
    if task == "multiclass":
        return task, outputs.float().softmax(dim=1)
    is_logit = task in ("binary", "multilabel") and name not in ("binary_cross_entropy", "BCELoss")
    return task, outputs.float().sigmoid() if is_logit else outputs
