"""What `trainer.non_finite` asks for: steps that are not finite are left out, or not looked for.

With "stop", a fused optimizer of a GPU leaves out the bad step and all that follow.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from base import BaseTrainer, Callback
from utils import distributed
from utils.optim import by_name

KEY = "trainer.non_finite"


class StepSkipped(Exception):
    """A step was not finite and is left out; the loop goes on with the next one."""


class SkipSteps(Callback):
    """Lets the loop go on."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        policy = trainer.config.settings.trainer.non_finite
        if not hasattr(trainer, "check_finite") or "finite" in trainer.state:
            return
        if policy == "ignore":
            vars(trainer)["check_finite"] = lambda tensors: None
        elif policy == "skip":
            trainer.state["finite"] = SkippedSteps(trainer)
        else:
            hand_over(trainer)


def hand_over(trainer: Any) -> None:
    """Tell fused optimizers of a GPU of what is found, if GradScaler does not do that."""
    for optimizer in by_name(trainer.optimizer).values():
        is_fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        if is_fused and not trainer.checks_each_step and not trainer.scaler.is_enabled():
            optimizer.found_inf = trainer.found_inf  # torch's own name


class SkippedSteps:
    """Counts the steps that are left out, by all processes alike."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.n_skipped, self.max_skipped = 0, trainer.config.settings.trainer.max_skipped
        self.check, self.stop = trainer.check_finite, trainer.stop_if_not_finite
        trainer.check_finite, trainer.stop_if_not_finite = self.check_in_all, self.skip
        trainer.train_step = until_skipped(trainer.train_step)
        trainer.checks_each_step = True

    def check_in_all(self, tensors: list[torch.Tensor]) -> None:
        """Look for what is not finite in any process."""
        self.check(tensors)
        if distributed.world_size() > 1:
            dist.all_reduce(self.trainer.found_inf, dist.ReduceOp.MAX)

    def skip(self, loss: torch.Tensor | None = None) -> None:
        """Raise StepSkipped where something was not finite, as often as may be."""
        found_inf = self.trainer.found_inf
        if loss is None or not found_inf.item():
            return
        if self.n_skipped == self.max_skipped:
            self.stop(loss)
        found_inf.zero_()
        self.n_skipped += 1
        line = "step %d skipped, number %d"
        self.trainer.logger.warning(line, self.trainer.step, self.n_skipped)
        self.trainer.scaler.update()  # it has looked at the gradients of this step
        raise StepSkipped

    def state_dict(self) -> dict[str, int]:
        return {"n_skipped": self.n_skipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n_skipped = state["n_skipped"]


def until_skipped(train_step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A `train_step` that gives no values where its step is left out."""

    def step(batch: Any) -> Any:
        try:
            return train_step(batch)
        except StepSkipped:
            return {}

    return step
