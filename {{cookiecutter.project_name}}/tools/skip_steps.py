"""What `trainer.non_finite` asks for: steps that are not finite are left out, or not looked for."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from base import BaseTrainer, Callback
from utils import distributed
from utils.errors import RunError
from utils.optim import by_name

KEY = "trainer.non_finite"


class StepSkipped(Exception):
    """A step was not finite and is left out; the loop goes on with the next one."""


class SkipSteps(Callback):
    """Lets the loop go on."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        policy = trainer.config.settings.trainer.non_finite
        if not hasattr(trainer, "check_loss") or "finite" in trainer.state:
            return
        if policy == "ignore":
            vars(trainer).update(check_loss=lambda loss: None, stop_if_not_finite=lambda: None)
        elif policy == "skip":
            trainer.state["finite"] = SkippedSteps(trainer)


class SkippedSteps:
    """Counts the steps that are left out, by all processes alike. Each step waits for a GPU."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.n_skipped, self.max_skipped = 0, trainer.config.settings.trainer.max_skipped
        trainer.check_loss = lambda loss: self.skip_unless_finite("the loss", [loss])
        for optimizer in by_name(trainer.optimizer).values():
            optimizer.register_step_pre_hook(self.check_gradients)
        trainer.train_step = until_skipped(trainer.train_step)

    def check_gradients(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step, which GradScaler takes only where all are finite."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.skip_unless_finite("a gradient", [p.grad for p in parameters if p.grad is not None])

    def skip_unless_finite(self, what: str, tensors: list[torch.Tensor]) -> None:
        """Raise StepSkipped where a number is not finite in any process, as often as may be."""
        own = [x.to_local() if hasattr(x, "to_local") else x for x in tensors]  # of FSDP
        values = [x.coalesce().values() if x.is_sparse else x for x in own]
        bad = torch.zeros((), device=self.trainer.device)
        for value in values:
            bad += ~value.isfinite().all()
        if distributed.world_size() > 1:
            dist.all_reduce(bad)
        if not bad.item():
            return
        if self.n_skipped == self.max_skipped:
            raise RunError(f"{what} is not finite; the step was not taken")
        self.n_skipped += 1
        line = "step %d skipped, number %d"
        self.trainer.logger.warning(line, self.trainer.step, self.n_skipped)
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
