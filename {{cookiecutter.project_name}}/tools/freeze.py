"""What `freeze` in the config does: parameters that are not trained until an epoch, or never.

The optimizer has those that are trained later from the start, and leaves them alone while they have
no gradient: so `optimizer.groups` gives them a learning rate of their own, and a resumed run is as
far as the epoch says. Batch norm that is frozen keeps its statistics too.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import inf
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from utils import distributed
from utils.errors import UserError

KEY = "freeze"


class Freeze(Callback):
    """Freezes parameters before the first epoch, and trains them from their epoch on."""

    def __init__(self) -> None:
        self.hooks: dict[str, Any] = {}  # of each batch norm that is frozen

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        patterns = config.settings.freeze
        if patterns and config.settings.parallel.type == "fsdp" and distributed.world_size() > 1:
            raise UserError("freeze: goes with parallel.type = ddp, not with fsdp")
        names = [name for name, _ in model.named_parameters()]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                parts = ", ".join(f"{name}.*" for name, _ in model.named_children())
                raise UserError(f"freeze: no parameter fits {pattern!r}; parts: {parts}")
        for name, parameter in model.named_parameters():
            if first_epoch(name, patterns) == inf:  # then the optimizer does not get it
                parameter.requires_grad_(False)

    def on_train_start(self, trainer: BaseTrainer) -> None:
        self.set_up(trainer, trainer.start_epoch)

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        self.set_up(trainer, log["epoch"] + 1)

    def set_up(self, trainer: BaseTrainer, epoch: int) -> None:
        """Train in this epoch what is to be trained in it."""
        if not (patterns := trainer.config.settings.freeze):
            return
        model = distributed.unwrap(trainer.model)
        changed = [
            (parameter, epoch >= first)
            for name, parameter in model.named_parameters()
            if (first := first_epoch(name, patterns)) is not None
            and parameter.requires_grad != (epoch >= first)
        ]
        for parameter, is_trained in changed:
            parameter.requires_grad_(is_trained)
        for name, module in batch_norms(model):
            self.keep_statistics(
                name, module, epoch < (first_epoch(f"{name}.weight", patterns) or 0)
            )
        if changed and isinstance(trainer.model, DistributedDataParallel):
            trainer.model = wrapped_anew(trainer.model)
        if changed:
            n = sum(parameter.requires_grad for parameter in model.parameters())
            of_all = sum(1 for _ in model.parameters())
            line = "freeze: from epoch %d on, %d of %d parameters are trained"
            trainer.logger.info(line, epoch, n, of_all)

    def keep_statistics(self, name: str, module: nn.Module, is_frozen: bool) -> None:
        """Let a batch norm be in evaluation mode whenever it is called, or no longer."""
        if is_frozen and name not in self.hooks:
            self.hooks[name] = module.register_forward_pre_hook(lambda one, _: one.eval() and None)
        elif not is_frozen and name in self.hooks:
            self.hooks.pop(name).remove()


def first_epoch(name: str, patterns: dict[str, int | None]) -> float | None:
    """From which epoch on a parameter is trained: inf for never; None where no pattern fits.

    Of several patterns that fit, the last one counts.
    """
    found = [epoch for pattern, epoch in patterns.items() if fnmatchcase(name, pattern)]
    return None if not found else inf if found[-1] is None else found[-1]


def batch_norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield name, module


def wrapped_anew(model: DistributedDataParallel) -> DistributedDataParallel:
    """A wrapper for the gradients that there are now; the old one waits for others."""
    inner, devices = model.module, model.device_ids
    finds_unused = model.find_unused_parameters
    inner.zero_grad(set_to_none=True)  # they lie in the memory of the old one
    return DistributedDataParallel(
        inner, devices, find_unused_parameters=finds_unused, gradient_as_bucket_view=True
    )
