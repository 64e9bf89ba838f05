"""What `trainer.non_finite` asks for: a loss or gradient that is not finite changes no weight."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from utils import distributed
from utils.errors import RunError, UserError
from utils.optim import by_name

NOT_TAKEN = "the step was not taken"


class StepSkipped(Exception):
    """A step was not finite and is left out; the loop goes on with the next one."""


class FiniteCheck:
    """What is done about a step that is not finite, found out without waiting for a GPU.

    `found_inf`, on the device, is 1 once something was not finite. On a GPU a fused optimizer reads
    it and leaves out that step and all that follow, and `look_back` tells of it whenever somebody
    waits for the GPU anyway. Where `waits`, as on a CPU, the loop reads it before each step.
    """

    def __init__(
        self, settings: Any, device: torch.device, optimizer: Any, logger: Any, run_dir: Path
    ) -> None:
        self.policy, self.max_skipped = settings.non_finite, settings.max_skipped
        self.n_skipped, self.logger, self.run_dir = 0, logger, run_dir
        self.optimizers = by_name(optimizer).values()
        if settings.precision == "fp16" and settings.accumulate_steps > 1 < len(self.optimizers):
            # Each step may change the scale, also while gradients of another are added up
            raise UserError("trainer.accumulate_steps: with several optimizers, fp16 takes 1 only")
        self.found_inf, self.one = torch.zeros((), device=device), torch.ones((), device=device)
        are_fused = all(getattr(x, "_step_supports_amp_scaling", False) for x in self.optimizers)
        is_late = device.type == "cuda" and self.policy == "stop" and are_fused
        self.waits = self.policy != "ignore" and not is_late
        self.asks_others = self.policy == "skip" and distributed.world_size() > 1
        if is_late and settings.precision != "fp16":  # of which GradScaler leaves out bad steps
            for each in self.optimizers:
                each.found_inf = self.found_inf  # torch's own name, for its GradScaler

    def look(self, tensors: list[torch.Tensor]) -> None:
        """Set `found_inf` for tensors of several types, and for sparse or complex ones."""
        values = [x.coalesce().values() if x.is_sparse else x for x in tensors]
        finite = torch.stack([x.isfinite().all().to(self.one.device) for x in values])
        self.found_inf.logical_or_(~finite.all())

    def heed(self, step: int, loss: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
        """Where something was not finite: raise RunError to stop, StepSkipped to leave it out."""
        if self.asks_others:
            self._ask_others()  # all of them leave it out
        if not self.found_inf.item():
            return
        self.found_inf.zero_()
        is_loss = not loss.isfinite().all()
        fault = f"the loss is {loss.item()}" if is_loss else "a gradient is not finite"
        if self.policy == "stop" or self.n_skipped == self.max_skipped:
            raise self._error(fault)
        self.n_skipped += 1
        self.logger.warning("step %d skipped, number %d: %s", step, self.n_skipped, fault)
        scaler.update()  # it has looked at the gradients of this step
        raise StepSkipped

    def look_back(self) -> None:
        """Raise RunError where a GPU has left out steps. Waits for it, and for other processes."""
        if self.waits or self.policy == "ignore":
            return
        self._ask_others()
        if self.found_inf.item():
            raise self._error("in this step or one before, the loss or a gradient is not finite")

    def _ask_others(self) -> None:
        if distributed.world_size() > 1:
            dist.all_reduce(self.found_inf, dist.ReduceOp.MAX)

    def _error(self, fault: str) -> RunError:
        how = f"To look into it: python train.py --replay {self.run_dir}"
        return RunError(f"{fault}; {NOT_TAKEN}. {how}")

    def state_dict(self) -> dict[str, int]:
        self.look_back()  # so that no checkpoint has steps that were left out
        return {"n_skipped": self.n_skipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n_skipped = state["n_skipped"]
