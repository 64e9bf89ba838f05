"""Whether each step can be taken: by the optimizer, and until the end by the schedule.

Without this file, the step that cannot be taken tells; and gradients that add up are not seen.
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
from utils.errors import UserError, in_one_line
from utils.optim import by_name, parameters_of

OLD_GRADIENTS = "train_step: gradients of all steps add up: self.optimize(loss) clears them first"
MOST_STEPS = 100_000  # that --check looks ahead


class Steps(Callback):
    """Refuses LBFGS, a schedule that ends before the run does, and gradients that add up."""

    handles: dict[Any, list[Any]] = {}  # of the hooks on each optimizer
    planned: list[tuple[str, str, Any, int]] = []

    def on_train_start(self, trainer: Any) -> None:
        for name, optimizer in by_name(trainer.optimizer).items():
            if isinstance(optimizer, LBFGS) and takes_plain_steps(trainer):
                key = f"optimizer.{name}".rstrip(".")
                reason = "takes a closure in each step: write a train_step that gives it"
                raise UserError(f"{key}.type: {type(optimizer).__name__} {reason}")
        self.planned = [*schedules(trainer)]
        for schedule in self.planned:
            check_length(trainer, *schedule)
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
            found = [p for p in parameters_of(optimizer) if type(p.grad) is torch.Tensor]
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


def check_length(trainer: Any, key: str, interval: str, scheduler: Any, n: int) -> None:
    """Say what does not fit the run, of `n` steps; UserError for a schedule that ends before."""
    for where, total, needed in too_short(scheduler, n, key):
        raise UserError(
            compare_lengths(trainer, f"{where}.args.total_steps", total, interval, needed)
        )
    for name in {"total_steps", "T_max"} & {*vars(scheduler)}:
        length = getattr(scheduler, name)
        line = compare_lengths(trainer, f"{key}.args.{name}", length, interval, n)
        if length < n:
            trainer.logger.warning("%s: the rate rises again", line)
        elif length > n:
            trainer.logger.info("%s", line)


def schedules(trainer: Any) -> Iterator[tuple[str, str, Any, int]]:
    """Each schedule with its key and interval, and how often it has moved on when the run ends."""
    n_epochs = n_steps = trainer.epochs - (trainer.start_epoch - 1)
    if (per_step := getattr(trainer, "accumulate_steps", None)) is not None:
        n_steps = n_epochs * -(-trainer.len_epoch // per_step) - trainer.batch_idx // per_step
    settings = by_name(trainer.config.settings.lr_scheduler)
    for name, scheduler in by_name(trainer.lr_scheduler).items():
        interval = getattr(settings.get(name), "interval", "epoch")
        n = getattr(scheduler, "last_epoch", 0) + (n_epochs if interval == "epoch" else n_steps)
        yield f"lr_scheduler.{name}".rstrip("."), interval, scheduler, n


def compare_lengths(trainer: Any, key: str, length: int, interval: str, n: int) -> str:
    """The words on a schedule of `length` steps where the run takes `n`."""
    run = f"the run {n} (interval = {interval}, trainer.epochs = {trainer.epochs})"
    return f"{key}: the schedule has {length} steps, but {run}"


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


def too_short(scheduler: Any, n_steps: int, key: str) -> Iterator[tuple[str, int, int]]:
    """Of each schedule that does not last: its key, its steps, and how many it would need."""
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < n_steps:
        yield key, scheduler.total_steps, n_steps
    if isinstance(scheduler, ChainedScheduler):
        spans = [(0, n_steps) for _ in scheduler._schedulers]
    elif isinstance(scheduler, SequentialLR):
        starts = [0, *scheduler._milestones]
        ends = [min(n_steps, start - 1) for start in starts[1:]] + [n_steps]
        spans = list(zip(starts, ends, strict=True))
    else:
        return
    for index, (start, end) in enumerate(spans):
        yield from too_short(
            scheduler._schedulers[index], end - start, f"{key}.args.schedulers.{index}"
        )
