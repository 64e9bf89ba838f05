"""Whether each step can be taken: by the optimizer, and until the end by the schedule.

tools/check.py looks at the length of a schedule; here also at those that it consists of. Without
this file, the step that cannot be taken tells; and gradients that add up are not refused.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.optim import LBFGS
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from base import Callback
from tools.check import compare_lengths, schedules
from utils.errors import UserError, in_one_line
from utils.optim import by_name

OLD_GRADIENTS = "train_step: gradients of all steps add up: self.optimize(loss) clears them first"
MOST_STEPS = 100_000  # that --check looks ahead


class Steps(Callback):
    """Refuses LBFGS, a part of a schedule that ends too early, and gradients that add up."""

    handles: dict[Any, list[Any]] = {}  # of the hooks on each optimizer
    planned: list[tuple[str, str, Any, int]] = []

    def on_train_start(self, trainer: Any) -> None:
        for name, optimizer in by_name(trainer.optimizer).items():
            if isinstance(optimizer, LBFGS) and takes_plain_steps(trainer):
                key = f"optimizer.{name}".rstrip(".")
                reason = "takes a closure in each step: write a train_step that gives it"
                raise UserError(f"{key}.type: {type(optimizer).__name__} {reason}")
        self.planned = [*schedules(trainer)]
        for key, interval, scheduler, n in self.planned:
            for where, part, n_steps in parts_of(scheduler, n, key):
                compare_lengths(trainer, where, interval, part, n_steps)
        if hasattr(trainer, "is_first_micro_batch"):  # else it has a loop of its own
            self.n_steps, self.have_old = Counter[Any](), dict[Any, bool]()
            optimizers = [x for x in by_name(trainer.optimizer).values() if hasattr(x, "step")]
            self.handles = {x: [x.register_step_pre_hook(self.on_step)] for x in optimizers}

    def on_epoch_end(self, trainer: Any, log: dict[str, Any]) -> None:
        self.on_train_end(trainer, "")

    def on_train_end(self, trainer: Any, outcome: str) -> None:
        for optimizer in [*self.handles]:
            self.leave(optimizer)

    def findings(self, trainer: Any) -> Iterator[tuple[str, str]]:
        """What --check is to say. Raises UserError for a schedule that does not last."""
        for _, interval, scheduler, n in self.planned:
            yield "schedule", f"{n} {interval}s, {end_of(scheduler, n)}"

    def on_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step of an optimizer, whoever takes it."""
        self.n_steps[optimizer] += 1
        if self.n_steps[optimizer] == 1:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            found = [p for p in parameters if type(p.grad) is torch.Tensor]
            for p in [p for p in found if p.grad.layout is torch.strided][:1]:
                hook = partial(self.on_gradient, optimizer, p)
                self.handles[optimizer].append(p.register_hook(hook))
        elif self.n_steps[optimizer] == 2 and self.have_old.get(optimizer):
            raise UserError(OLD_GRADIENTS)

    def on_gradient(self, optimizer: Any, parameter: Any, gradient: Any) -> None:
        """After the first step, before a gradient is added to that of a parameter."""
        if self.n_steps[optimizer] > 1:  # within a step no hook of its can be removed
            return self.leave(optimizer)
        has_old = parameter.grad is not None and bool(parameter.grad.any())
        self.have_old[optimizer] = has_old and self.have_old.get(optimizer, True)

    def leave(self, optimizer: Any) -> None:
        for handle in self.handles.pop(optimizer):
            handle.remove()


def end_of(scheduler: Any, n: int) -> str:
    """The last learning rate of a schedule of n steps. Raises UserError where it has fewer."""
    if isinstance(scheduler, ReduceLROnPlateau) or not hasattr(scheduler, "get_last_lr"):
        return type(scheduler).__name__
    rate = scheduler.get_last_lr()[0]
    try:
        for _ in range(min(n - scheduler.last_epoch, MOST_STEPS)):
            rate = scheduler.get_last_lr()[0]
            scheduler.step()
    except Exception as error:
        raise UserError(f"lr_scheduler: the run takes {n} steps: {in_one_line(error)}") from error
    length = f", T_max = {scheduler.T_max}" if hasattr(scheduler, "T_max") else ""
    return f"lr {rate:.3g} in the last{length}"


def takes_plain_steps(trainer: Any) -> bool:
    """Whether `train_step` is that of the project, which calls `optimize`."""
    from trainer import trainer as own  # here, as the folder of an old project may have none

    step = getattr(type(trainer), "train_step", None)
    return step is not None and step is own.Trainer.train_step


def parts_of(scheduler: Any, n_steps: int, key: str) -> Iterator[tuple[str, Any, int]]:
    """Of each schedule inside of another: its key, the schedule, and how many steps it takes."""
    starts, ends = [], []
    if isinstance(scheduler, ChainedScheduler):
        starts, ends = [0] * len(scheduler._schedulers), [n_steps] * len(scheduler._schedulers)
    elif isinstance(scheduler, SequentialLR):
        starts, ends = [0, *scheduler._milestones], [*scheduler._milestones, n_steps]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part, where = scheduler._schedulers[index], f"{key}.args.schedulers.{index}"
        # The step at a milestone is the first of the next schedule, which OneCycleLR counts
        n = min(end, n_steps) - start - (end < n_steps and isinstance(part, OneCycleLR))
        if n > 0:
            yield where, part, n
            yield from parts_of(part, n, where)
