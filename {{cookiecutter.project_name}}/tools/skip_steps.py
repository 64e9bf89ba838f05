"""What `trainer.non_finite=skip` asks for: a step that is not finite is left out, up to a limit."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from base import BaseTrainer, Callback
from utils import distributed
from utils.run import FiniteCheck

KEY = "trainer.non_finite"


class StepSkipped(Exception):
    """A step was not finite and is left out; the loop goes on with the next one."""


class SkipSteps(Callback):
    """Lets the loop go on where `heed` says that a step is left out."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        settings = trainer.config.settings.trainer
        if settings.non_finite == "skip" and hasattr(trainer, "finite"):
            check = SkippingCheck(settings, trainer.device, trainer.optimizer)
            check.logger = trainer.logger
            trainer.finite = trainer.state["finite"] = check
            trainer.train_step = until_skipped(trainer.train_step)  # type: ignore[attr-defined]


def until_skipped(train_step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A `train_step` that gives no values where its step is left out."""

    def step(batch: Any) -> Any:
        try:
            return train_step(batch)
        except StepSkipped:
            return {}

    return step


class SkippingCheck(FiniteCheck):
    """Counts the steps that are left out, by all processes alike."""

    logger: Any

    def __init__(self, settings: Any, *args: Any) -> None:
        super().__init__(settings, *args)
        self.n_skipped, self.max_skipped = 0, settings.max_skipped
        self.asks_others = distributed.world_size() > 1

    def heed(self, step: int, loss: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
        if self.asks_others:
            dist.all_reduce(self.found_inf, dist.ReduceOp.MAX)
        if not self.found_inf.item():
            return
        self.found_inf.zero_()
        if self.n_skipped == self.max_skipped:
            super().heed(step, loss, scaler)
        self.n_skipped += 1
        self.logger.warning("step %d skipped, number %d", step, self.n_skipped)
        scaler.update()  # it has looked at the gradients of this step
        raise StepSkipped

    def state_dict(self) -> dict[str, int]:
        return {"n_skipped": self.n_skipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n_skipped = state["n_skipped"]
