"""What `trainer.non_finite` asks for: steps that are not finite are left out, or not looked for."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from base import BaseTrainer, Callback
from utils import distributed
from utils.errors import RunError, UserError
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
            if isinstance(trainer.optimizer, dict):
                reason = "goes with one optimizer: of several, some would have taken their step"
                raise UserError(f"{KEY} = skip: {reason}")
            trainer.state["finite"] = SkippedSteps(trainer)


class SkippedSteps:
    """Counts the steps that are left out, by all processes alike. A GPU is waited for each time."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.n_skipped, self.max_skipped = 0, trainer.config.settings.trainer.max_skipped
        self.has_bad_loss = False  # in one of the micro-batches of a step
        trainer.check_loss = self.check_loss
        for optimizer in by_name(trainer.optimizer).values():
            optimizer.register_step_pre_hook(self.check_gradients)
        trainer.train_step = until_skipped(trainer)

    def check_loss(self, loss: torch.Tensor) -> None:
        """After a backward pass. Raises StepSkipped, with the last micro-batch for any of them."""
        is_bad = self.is_bad([loss.detach()])
        self.has_bad_loss = is_bad or (self.has_bad_loss and not self.trainer.is_first_micro_batch)
        if self.has_bad_loss and self.trainer.is_last_micro_batch:
            self.skip("the loss")
        if is_bad:
            raise StepSkipped

    def check_gradients(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step. Those of fp16 GradScaler looks at by itself, to find its scale."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not self.trainer.scaler.is_enabled() and self.is_bad(gradients):
            self.skip("a gradient")

    def is_bad(self, tensors: list[torch.Tensor]) -> bool:
        """Whether a number is not finite, in any process."""
        own = [x.to_local() if hasattr(x, "to_local") else x for x in tensors]  # of FSDP
        bad = torch.zeros((), device=self.trainer.device)
        for value in [x.coalesce().values() if x.is_sparse else x for x in own]:
            bad += ~value.isfinite().all().to(bad.device)
        if distributed.world_size() > 1:
            dist.all_reduce(bad)
        return bad.item() > 0

    def skip(self, what: str) -> None:
        """Raise StepSkipped, as often as may be; then RunError."""
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


def until_skipped(trainer: Any) -> Callable[[Any], Any]:
    """Its `train_step`, without values where the step is left out, and without its buffers.

    A forward pass has changed these, such as the statistics of batch norm.
    """
    train_step = trainer.train_step

    def step(batch: Any) -> Any:
        buffers = [buffer.clone() for buffer in trainer.model.buffers()]
        try:
            return train_step(batch)
        except StepSkipped:
            for buffer, before in zip(trainer.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            return {}

    return step
