"""Mistakes in what belongs together in a config: each key alone would be right."""

import json
from collections.abc import Iterator
from typing import Any

from utils.check import Keys, Mistake, wrong_value
from utils.optim import by_name


def check_together(settings: Any) -> Iterator[Mistake]:
    """The mistakes in the names of metrics, the schedules and the monitored value."""
    taken = {"loss", "lr", "epoch"}
    for index, metric in enumerate(settings.metrics):
        name = metric.name or metric.type.rpartition(".")[2]
        if name in taken:
            text = f': the name {name!r} is taken; give it another, "name": "…"'
            yield Mistake(("metrics", index), text)
        taken.add(name)
    if settings.trainer.clip_grad_norm == 0:
        text = wrong_value(0, "more than 0, or null to clip nothing")
        yield Mistake(("trainer", "clip_grad_norm"), text)
    if settings.trainer.accumulate_steps > 1 and isinstance(settings.optimizer, dict):
        text = ": goes with one optimizer, not with several"
        yield Mistake(("trainer", "accumulate_steps"), text)
    schedulers, optimizers = by_name(settings.lr_scheduler), by_name(settings.optimizer)
    for name, scheduler in schedulers.items():
        path = ("lr_scheduler", name) if name else ("lr_scheduler",)
        if name not in optimizers:
            text = f"must go with optimizer: {', '.join(optimizers) or 'one alone'}"
            yield Mistake(path, f": {text}")
        if scheduler.type.rpartition(".")[2] == "ReduceLROnPlateau":
            yield from _check_plateau(path, scheduler, settings.trainer.monitor.partition(" ")[0])


def _check_plateau(path: Keys, scheduler: Any, monitor_mode: str) -> Iterator[Mistake]:
    mode = scheduler.args.get("mode", "min")
    if scheduler.interval == "step" or monitor_mode == "off":
        text = ': it follows trainer.monitor, epoch by epoch: interval must be "epoch"'
        yield Mistake(path, text + ', and the monitor not "off"')
    elif mode != monitor_mode:
        wanted = f"{json.dumps(monitor_mode)}, as in trainer.monitor"
        yield Mistake((*path, "args", "mode"), wrong_value(mode, wanted))
