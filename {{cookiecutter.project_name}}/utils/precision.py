"""What makes a model faster on a GPU: formats of numbers and of memory, and compiling."""

from contextlib import nullcontext

import torch

AS_IT_IS = nullcontext()


def prepare_model(model, settings):
    """Set up the model, in place, as `settings` of the trainer say."""
    torch.set_float32_matmul_precision("high" if settings.precision == "tf32" else "highest")
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile is not False:
        model.compile(**({} if settings.compile is True else settings.compile))


def autocast(precision, device):
    """A context, to be entered any number of times, in which operations take that precision."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype) if dtype else AS_IT_IS


def grad_scaler(precision, device):
    """Keeps the gradients of fp16 from vanishing; does nothing for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


class EagerIfSmaller:
    """A context for a batch of n samples: one smaller than others runs as it is, not compiled.

    The last batch of an epoch would else be compiled for its own size, which takes many seconds.
    """

    def __init__(self, is_compiled):
        self.is_compiled = is_compiled
        self.largest = 0

    def __call__(self, n):
        if not self.is_compiled or n >= self.largest:
            self.largest = n
            return AS_IT_IS
        return torch.compiler.set_stance("force_eager")
