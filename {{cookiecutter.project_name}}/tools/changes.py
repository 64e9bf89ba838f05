"""Lets a run go on with other numbers in its optimizer and its schedule, and logs all changes.

Without this file, a change of the optimizer or the schedule is refused.
"""

import copy
from dataclasses import asdict
from typing import Any

from base import BaseTrainer, Callback
from logger import setup_logging
from parse_config import ConfigParser
from utils.check import Keys
from utils.errors import UserError
from utils.optim import by_name

Changed = dict[Keys, tuple[Any, Any]]  # {path: (old value, new value)}


class Changes(Callback):
    """Changes the numbers in the state of a checkpoint before it is taken up."""

    changes: Changed = {}  # since that checkpoint

    def on_checkpoint_load(self, trainer: BaseTrainer, state: dict[str, Any]) -> None:
        if state["random"] is None:
            return  # other code has written it
        changes = self.changes = changes_since(state["config"], trainer.config)
        if ("trainer", "monitor") in changes:
            state["monitor_best"] = None  # the search for the best epoch begins anew
        for path, (old, new) in changes.items():
            if path[0] == "optimizer" and "args" not in path:
                key = ".".join(path)
                raise UserError(f"{key}: {old} -> {new}: for that, start a new run with init_from")
        if any(path[0] == "lr_scheduler" and "args" not in path for path in changes):
            state["lr_scheduler"] = None  # the new schedule begins now
            keep_groups(state["optimizer"], trainer.optimizer)
        for path, (old, new) in changes.items():
            if path[0] in ("optimizer", "lr_scheduler") and "args" in path[:-1]:
                change(state, trainer.lr_scheduler, path, old, new)
        state["config"] = trainer.config.given  # whose changes are taken up

    def on_train_start(self, trainer: BaseTrainer) -> None:
        setup_logging(trainer.config.save_dir)
        for path, (old, new) in self.changes.items():
            line = "%s: %s -> %s from step %d on"
            trainer.logger.info(line, ".".join(path), old, new, trainer.step)


def changes_since(before: dict[str, Any] | None, config: ConfigParser) -> Changed:
    """What differs from the config of a checkpoint."""
    try:
        old = ConfigParser(before or {}).settings
    except UserError:
        return {}  # it is of another project, or another version
    return changed_keys(asdict(old), asdict(config.settings))


def changed_keys(old: Any, new: Any, path: Keys = ()) -> Changed:
    """{path: (old value, new value)} of the values in which two configs differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {path: (old, new)}
    keys = dict.fromkeys([*old, *new])
    inner = [changed_keys(old.get(key), new.get(key), (*path, key)) for key in keys]
    return {key: pair for one in inner for key, pair in one.items()}


def keep_groups(state: dict[str, Any], optimizer: Any) -> None:
    """Add to the parameter groups in a state what a new schedule has put into an optimizer's."""
    for name, one in by_name(optimizer).items():
        groups = (state[name] if name else state)["param_groups"]
        for group, own in zip(groups, one.param_groups, strict=True):
            group |= {key: value for key, value in own.items() if key not in group}


def change(state: dict[str, Any], scheduler: Any, path: Keys, old: Any, new: Any) -> None:
    """Give an optimizer or a scheduler in the state a number in place of an old one.

    The learning rate is then that of the new schedule at this point, where torch has a formula for
    it; else the rate that was reached is scaled. Raises UserError for what is not a number.
    """
    optimizer_state, scheduler_state = state["optimizer"], state["lr_scheduler"]
    if path[1] != "args":  # one of several
        optimizer_state = optimizer_state[path[1]]
        scheduler_state = (scheduler_state or {}).get(path[1])
        scheduler = (scheduler or {}).get(path[1])
    groups, argument = optimizer_state["param_groups"], path[-1]
    if path[0] == "lr_scheduler" and scheduler_state is None:
        return  # it begins now
    target = [scheduler_state] if path[0] == "lr_scheduler" else groups
    if not all(isinstance(value, (int, float)) for value in (old, new, target[0].get(argument))):
        raise UserError(f"{'.'.join(path)}: cannot be changed in the middle of a run")
    if argument == "lr" and old > 0:
        for group in groups:
            group["lr"] *= new / old
            group["initial_lr"] = new
        if "base_lrs" in (scheduler_state or {}):
            rates = scheduler_state["base_lrs"]
            scheduler_state["base_lrs"] = [rate * new / old for rate in rates]
    else:
        for group in target:
            group[argument] = new
        if path[0] == "lr_scheduler" and hasattr(scheduler, "_schedule_phases"):
            scheduler_state["_schedule_phases"] = scheduler._schedule_phases  # of OneCycleLR
    if scheduler_state is not None and hasattr(scheduler, "_get_closed_form_lr"):
        scheduler = copy.copy(scheduler)
        scheduler.load_state_dict(scheduler_state)
        for group, rate in zip(groups, scheduler._get_closed_form_lr(), strict=True):
            group["lr"] = rate
