"""Whether each step can be taken: by the optimizer, and until the end by the schedule.

Without this file, the step that cannot be taken tells.
"""

from collections.abc import Iterator
from typing import Any

from torch.optim import LBFGS
from torch.optim.lr_scheduler import ChainedScheduler, OneCycleLR, SequentialLR

from base import BaseTrainer, Callback
from tools.check import compare_lengths, schedules
from utils.errors import UserError
from utils.optim import by_name


class Steps(Callback):
    """Refuses LBFGS, and a OneCycleLR inside other schedules that ends before the run does."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        for name, optimizer in by_name(trainer.optimizer).items():
            if isinstance(optimizer, LBFGS) and takes_plain_steps(trainer):
                key = f"optimizer.{name}".rstrip(".")
                reason = "takes a closure in each step: write a train_step that gives it"
                raise UserError(f"{key}.type: {type(optimizer).__name__} {reason}")
        for where, interval, scheduler, n_run in schedules(trainer):
            for key, total, needed in too_short(scheduler, n_run, where):
                raise UserError(
                    compare_lengths(trainer, f"{key}.args.total_steps", total, interval, needed)
                )


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
