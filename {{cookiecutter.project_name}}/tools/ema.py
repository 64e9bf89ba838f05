"""What `trainer.ema` asks for: a moving average of the weights, which evaluations use."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from base import BaseTrainer, Callback
from utils import distributed
from utils.errors import UserError

KEY = "trainer.ema"


class MovingAverage(Callback):
    """Moves `trainer.state["ema"]` towards the weights after each step."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        decay = trainer.config.settings.trainer.ema
        if decay is None or "ema" in trainer.state:
            return
        if not hasattr(trainer, "after_step"):
            raise UserError("trainer.ema: not with a loop of your own")
        model = distributed.unwrap(trainer.model)
        average = trainer.state["ema"] = AveragedModel(model)
        trainer.after_step.append(lambda: update_average(average, model, decay))


def update_average(average: AveragedModel, model: nn.Module, decay: float) -> None:
    """Move averaged weights towards those of a model; torch's own method waits for a GPU."""
    own, new = tuple(average.module.parameters()), tuple(model.parameters())
    with torch.no_grad():
        weight = 1 - decay if average.n_averaged else 1.0
        torch._foreach_lerp_(own, new, weight)  # as get_ema_multi_avg_fn does
        for own_buffer, buffer in zip(average.module.buffers(), model.buffers(), strict=True):
            own_buffer.copy_(buffer)
        average.n_averaged += 1
