"""What `trainer.non_finite` asks for: a loss or gradient that is not finite changes no weight."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from utils import distributed
from utils.errors import RunError, UserError
from utils.optim import by_name

NOT_TAKEN = "the step was not taken"


class FiniteCheck:
    """What is done about a step that is not finite, found out without waiting for a GPU.

    `found_inf`, on the device, is 1 once something was not finite. On a GPU a fused optimizer reads
    it and leaves out that step and all that follow, and `look_back` tells of it whenever somebody
    waits for the GPU anyway. Where `waits`, as on a CPU, the loop reads it before each step.
    """

    asks_others = False  # whether `heed` looks into each step

    def __init__(self, settings: Any, device: torch.device, optimizer: Any, run_dir: Path) -> None:
        self.policy, self.run_dir = settings.non_finite, run_dir
        self.optimizers = by_name(optimizer).values()
        if settings.precision == "fp16" and settings.accumulate_steps > 1 < len(self.optimizers):
            # Each step may change the scale, also while gradients of another are added up
            raise UserError("trainer.accumulate_steps: with several optimizers, fp16 takes 1 only")
        self.found_inf, self.one = torch.zeros((), device=device), torch.ones((), device=device)
        are_fused = all(getattr(x, "_step_supports_amp_scaling", False) for x in self.optimizers)
        is_late = device.type == "cuda" and self.policy == "stop" and are_fused
        self.waits = self.policy != "ignore" and not is_late
        if is_late and settings.precision != "fp16":  # of which GradScaler leaves out bad steps
            for each in self.optimizers:
                each.found_inf = self.found_inf  # torch's own name, for its GradScaler

    def look(self, tensors: list[torch.Tensor]) -> None:
        """Set `found_inf` for tensors of several types, and for sparse or complex ones."""
        values = [x.coalesce().values() if x.is_sparse else x for x in tensors]
        finite = torch.stack([x.isfinite().all().to(self.one.device) for x in values])
        self.found_inf.logical_or_(~finite.all())

    def heed(self, step: int, loss: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
        """Raise RunError for a step in which something was not finite."""
        is_loss = not loss.isfinite().all()
        raise self.error(f"the loss is {loss.item()}" if is_loss else "a gradient is not finite")

    def look_back(self) -> None:
        """Raise RunError where a GPU has left out steps. Waits for it, and for other processes."""
        if self.waits or self.policy == "ignore":
            return
        if distributed.world_size() > 1:
            dist.all_reduce(self.found_inf, dist.ReduceOp.MAX)
        if self.found_inf.item():
            raise self.error("in this step or one before, the loss or a gradient is not finite")

    def error(self, fault: str) -> RunError:
        how = f"To look into it: python train.py --replay {self.run_dir}"
        return RunError(f"{fault}; {NOT_TAKEN}. {how}")

    def state_dict(self) -> dict[str, int]:
        self.look_back()  # so that no checkpoint has steps that were left out
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """There is nothing to take up."""
