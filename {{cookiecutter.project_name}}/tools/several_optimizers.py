"""Several optimizers that train one model in several processes.

A backward pass reaches some of the parameters, which DistributedDataParallel does not take.
"""

from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn

from base import BaseTrainer, Callback
from utils import distributed


class SeveralOptimizers(Callback):
    """Averages the gradients where a trainer has several optimizers and torchrun has started it."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        is_needed = distributed.world_size() > 1 and isinstance(trainer.optimizer, dict)
        if is_needed and not hasattr(trainer.model, "no_sync"):  # else it is done already
            average_gradients(trainer.model)


def average_gradients(model: nn.Module) -> None:
    """Give all processes the same weights, and from then on the same gradients."""
    model.no_sync = nullcontext  # type: ignore[assignment]
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), 0)
    for parameter in model.parameters():
        is_trained = parameter.requires_grad
        parameter.requires_grad_(True)  # else it takes no hook, and it may be trained later
        parameter.register_post_accumulate_grad_hook(average)
        parameter.requires_grad_(is_trained)


def average(parameter: torch.Tensor) -> None:
    """Replace a gradient by its mean over all processes, as a backward pass has added to it."""
    gradient = parameter.grad
    assert gradient is not None
    dist.all_reduce(gradient)
    gradient /= distributed.world_size()
