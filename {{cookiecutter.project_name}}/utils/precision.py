"""How a model computes: formats of numbers and of memory, compiling, the average of weights."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def prepare_model(model: Any, settings: Any) -> None:
    """Set up the model, in place, as `settings` of the trainer say."""
    torch.set_float32_matmul_precision("high" if settings.precision == "tf32" else "highest")
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile is not False:
        model.compile(**({} if settings.compile is True else settings.compile))


class MovingAverage(AveragedModel):
    """A model with averaged weights. Its update waits for no GPU, as that of torch would."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        own, new = tuple(self.module.parameters()), tuple(model.parameters())
        if self.n_averaged == 0:  # a number on the CPU
            torch._foreach_copy_(own, new)
        else:
            torch._foreach_lerp_(own, new, 1 - self.decay)  # as get_ema_multi_avg_fn does
        for own_buffer, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            own_buffer.copy_(buffer)
        self.n_averaged += 1


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """A context, to be entered any number of times, in which operations take that precision."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()
