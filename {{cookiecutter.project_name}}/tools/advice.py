"""Lines at the start of a run on what is easily overlooked."""

from collections.abc import Iterator
from typing import Any

from base import BaseTrainer, Callback
from settings import Settings
from utils import distributed
from utils.optim import by_name, parameters_of


class Advice(Callback):
    """Warnings before the first epoch."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        loader = getattr(trainer, "data_loader", None)
        for line in advice(trainer.config.settings, loader):
            trainer.logger.warning(line)
        if has_untrained_loss(trainer):
            trainer.logger.warning(
                "loss: its parameters are not trained: the model is to hold them"
            )


def advice(settings: Settings, data_loader: Any) -> Iterator[str]:
    """What a config and a data loader give reason to say."""
    n_processes = distributed.world_size()
    if n_processes == 1 and settings.parallel.type == "fsdp":
        yield "parallel.type = fsdp: is for several processes, started with torchrun"
    if n_processes == 1 and (n := settings.n_gpu or 1) > 1:
        yield f"n_gpu = {n}: this process uses one; torchrun --nproc-per-node={n} train.py uses all"
    if n_processes > 1 and data_loader is not None and not hasattr(data_loader, "set_epoch"):
        yield "data_loader: is no BaseDataLoader, so each process has all samples that it gives"


def has_untrained_loss(trainer: BaseTrainer) -> bool:
    """Whether a loss has parameters that no optimizer has."""
    optimizers = by_name(trainer.optimizer).values()
    trained = {id(p) for optimizer in optimizers for p in parameters_of(optimizer)}
    losses = [loss for loss in by_name(trainer.criterion).values() if hasattr(loss, "parameters")]
    return any(
        p.requires_grad and id(p) not in trained for loss in losses for p in loss.parameters()
    )
