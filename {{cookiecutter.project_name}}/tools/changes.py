"""Lets a run go on with other numbers in its optimizer and its schedule, and logs all changes.

Without this file, a change of the optimizer or the schedule is refused.
"""

import warnings
from dataclasses import asdict
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from base import BaseTrainer, Callback
from logger import setup_logging
from parse_config import ConfigParser
from utils.check import Keys
from utils.errors import UserError
from utils.optim import by_name

Changed = dict[Keys, tuple[Any, Any]]  # {path: (old value, new value)}
# What schedules set in parameter groups
SCHEDULED = "lr initial_lr min_lr max_lr momentum base_momentum max_momentum betas".split()


class Changes(Callback):
    """Changes the numbers in the state of a checkpoint before it is taken up."""

    changes: Changed = {}  # since that checkpoint

    def on_checkpoint_load(self, trainer: BaseTrainer, state: dict[str, Any]) -> None:
        is_ours = state["random"] is not None  # else other code has written it
        changes = self.changes = changes_since(state["config"], trainer.config) if is_ours else {}
        has_init = trainer.config.settings.init_from is not None
        if has_init and (below(changes, "init_from") or not is_ours):
            raise UserError("init_from: begins a new run: leave out -r, or init_from")
        if ("trainer", "monitor") in changes:
            state["monitor_best"] = None  # the search for the best epoch begins anew
        for path, (old, new) in changes.items():
            if path[0] == "optimizer" and "args" not in path:
                key = ".".join(path)
                raise UserError(f"{key}: {old} -> {new}: for that, start a new run with init_from")
        for name in by_name(trainer.optimizer):
            take_up(changes, trainer, state, name)
        if is_ours:
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


def below(changes: Changed, *start: str) -> Changed:
    """The changes of one part of the config, by their paths within it."""
    n = len(start)
    return {path[n:]: x for path, x in changes.items() if path[:n] == start[: len(path)]}


def begins_now(of_schedule: Changed) -> bool:
    """Whether a schedule is another: not only its arguments have changed."""
    return any(path[:1] != ("args",) for path in of_schedule)


def part_of(state: Any, name: str) -> Any:
    """What is in a state for one optimizer, "" where there is one alone."""
    return (state or {}).get(name) if name else state


def n_moves(state: dict[str, Any]) -> int:
    """How often a schedule with this state has moved on; a ChainedScheduler has no number of it."""
    return state["last_epoch"] if "last_epoch" in state else n_moves(state["_schedulers"][0])


def take_up(changes: Changed, trainer: Any, state: dict[str, Any], name: str) -> None:
    """Let one optimizer and its schedule in a state be as the config now says.

    The learning rate is then that of a run which had this schedule from its first step; a rate that
    no formula gives is scaled. Raises UserError for what cannot be changed.
    """
    where = [tuple(filter(None, (key, name))) for key in ("optimizer", "lr_scheduler")]
    of_optimizer, of_schedule = (below(changes, *path) for path in where)
    if not (of_optimizer or of_schedule):
        return
    groups = part_of(state["optimizer"], name)["param_groups"]
    own_groups = by_name(trainer.optimizer)[name].param_groups
    scheduler = by_name(trainer.lr_scheduler).get(name)
    reached = part_of(state["lr_scheduler"], name)
    refuse_unless_numbers(of_optimizer, groups, where[0])
    arguments = [path[1] for path in of_optimizer]
    is_formula = isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau)
    if begins_now(of_schedule) or (is_formula and reached):
        if not begins_now(of_schedule):
            move_on(scheduler, n_moves(reached), where[1])
        if scheduler is not None and reached:
            reached.clear()
            reached |= scheduler.state_dict()
        arguments += SCHEDULED
    else:
        refuse_unless_numbers(of_schedule, [reached or {}], where[1])
        for path, (_, new) in of_schedule.items():
            reached[path[1]] = new
        if "lr" in arguments:
            arguments.remove("lr")
            patterns = by_name(trainer.config.settings.optimizer)[name].groups
            scale(groups, own_groups, of_optimizer["args", "lr"][0], patterns)
    before = dict(groups[0])
    for group, own in zip(groups, own_groups, strict=True):
        group |= {key: own[key] for key in arguments if key in own}
    refuse_without_state(type(by_name(trainer.optimizer)[name]), before, groups[0], where[0])


def refuse_without_state(kind: Any, before: dict, now: dict, where: Keys) -> None:
    """Raises UserError where an optimizer with other options takes no step with its old state."""
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    try:
        tried = kind([before | {"params": [weight]}], lr=before.get("lr", 0.1))
        tried.step()
        tried.param_groups[0] |= now | {"params": [weight]}
        tried.step()
    except KeyError as error:
        keys = [".".join((*where, "args", key)) for key in now if now[key] != before.get(key)]
        reason = f"needs a state {error} that the run has not kept: start a new run with init_from"
        raise UserError(f"{', '.join(keys)}: {reason}") from None
    except (AssertionError, RuntimeError, TypeError, ValueError):
        return  # it is one for other weights, or for steps with a closure


def refuse_unless_numbers(changes: Changed, kept: list[dict[str, Any]], where: Keys) -> None:
    """Raises UserError for an argument that is no number, now or in the checkpoint."""
    for path, (_, new) in changes.items():
        values = [one.get(path[-1]) for one in kept]
        if not all(isinstance(x, (int, float)) for x in (new, *values)):
            key = ".".join(map(str, (*where, *path)))
            raise UserError(f"{key}: cannot be changed in the middle of a run")


def move_on(scheduler: Any, n: int, where: Keys) -> None:
    """Bring a new schedule to where the old one was. Raises UserError where it is too short."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer has taken its steps before
        try:
            for _ in range(n):
                scheduler.step()
        except ValueError as error:  # of OneCycleLR
            raise UserError(f"{'.'.join(where)}: {error}") from None


def scale(groups: list, own_groups: list, old: float | None, patterns: dict[str, Any]) -> None:
    """Scale the learning rates of the groups that have none of their own in `patterns`."""
    for group, own in zip(groups, own_groups, strict=True):
        names = own.get("name", "").split()
        if not any("lr" in args for pattern, args in patterns.items() if pattern in names):
            group["lr"] = own["lr"] * (group["lr"] / old if old else 1)
