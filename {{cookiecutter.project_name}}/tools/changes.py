"""What it means for a resumed run that its config has changed.

Without this file, a change of the optimizer or the schedule is refused.
"""

import copy
from dataclasses import asdict
from typing import Any

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from utils import distributed
from utils.check import Keys
from utils.errors import UserError
from utils.files import write_json
from utils.optim import by_name

KEPT_NAME = "config_to_step{}.json"  # in a run directory: the config until it was changed there
NEXT = "from now on"
OTHER_DATA = "the coming batches are not those that the run would have had"
EFFECTS = {  # of a change, by the beginning of the key; the first that fits
    "data_loader.args.num_workers": NEXT,
    "data_loader": OTHER_DATA,
    "seed": OTHER_DATA,
    "lr_scheduler.args": "the schedule goes on as if it had always been so",
    "optimizer.args.lr": "the schedule, if there is one, goes on as if it had always been so",
    "lr_scheduler": "the new schedule begins now",
    "trainer.monitor": "the search for the best epoch begins anew",
}


class Changes(Callback):
    """Says what has changed, and changes the numbers in the state before it is taken up.

    A file in the run directory keeps the config that the run has had until then.
    """

    before: Any = None  # the config of the checkpoint

    def on_checkpoint_load(self, trainer: BaseTrainer, state: dict[str, Any]) -> None:
        self.before = state["config"]
        state["config"] = trainer.config.config  # whose changes are taken up here
        if state["random"] is None:
            return  # other code has written it
        try:
            before = asdict(ConfigParser(self.before).settings)
        except UserError:
            return  # of another project, or another version
        changes = config_changes(before, asdict(trainer.config.settings))
        for line in [*describe(changes), *describe_processes(len(state["ranks"]) + 1)]:
            trainer.logger.warning("resume: %s", line)
        if ("trainer", "monitor") in changes:
            state["monitor_best"] = None
        if any(path[0] == "lr_scheduler" and "args" not in path for path in changes):
            state["lr_scheduler"] = None
            keep_groups(state["optimizer"], trainer.optimizer)
        for path, (old, new) in changes.items():
            if path[0] in ("optimizer", "lr_scheduler") and "args" in path[:-1]:
                change(state, trainer.lr_scheduler, path, old, new)

    def on_train_start(self, trainer: BaseTrainer) -> None:
        self.step = trainer.step
        kept = trainer.checkpoint_dir / KEPT_NAME.format(trainer.step)
        is_new = self.before not in (None, trainer.config.config) and not kept.exists()
        if is_new and distributed.is_main():
            write_json(self.before, kept)
            line = "The config up to step %d is kept in %s"
            trainer.logger.info(line, trainer.step, kept.name)

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        """Delete what was kept at a later step, where the run has gone back before it."""
        for kept in trainer.checkpoint_dir.glob(KEPT_NAME.format("*")) if self.before else ():
            number = kept.stem.rpartition("step")[2]
            if number.isdecimal() and int(number) > self.step and distributed.is_main():
                kept.unlink(missing_ok=True)


def keep_groups(state: dict[str, Any], optimizer: Any) -> None:
    """Add to the parameter groups in a state what a new schedule has put into an optimizer's."""
    for name, one in by_name(optimizer).items():
        groups = (state[name] if name else state)["param_groups"]
        for group, own in zip(groups, one.param_groups, strict=True):
            group |= {key: value for key, value in own.items() if key not in group}


def config_changes(old: Any, new: Any, path: Keys = ()) -> dict[Keys, tuple[Any, Any]]:
    """{path: (old value, new value)} of the leaves in which two configs differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {path: (old, new)}
    return {
        changed: values
        for key in dict.fromkeys([*old, *new])
        for changed, values in config_changes(old.get(key), new.get(key), (*path, key)).items()
    }


def describe(changes: dict[Keys, tuple[Any, Any]]) -> list[str]:
    """A line for each change. Raises UserError for another optimizer, whose state would not fit."""
    lines = []
    for path, (old, new) in changes.items():
        key = ".".join(path)
        line = f"{key}: {old} in the checkpoint, {new} now"
        if path[0] == "optimizer" and "args" not in path:
            raise UserError(f"{line}: for that, start a new run with init_from")
        if new is None and key == "lr_scheduler":
            line += ": the learning rate stays as it is"
            lines.append(line)
            continue
        effects = (EFFECTS[start] for start in EFFECTS if f"{key}.".startswith(f"{start}."))
        lines.append(f"{line}: {next(effects, NEXT)}")
    return lines


def describe_processes(before: int) -> list[str]:
    """A line where the number of processes has changed."""
    now = distributed.world_size()
    line = f"processes: {before} in the checkpoint, {now} now: a step has {now} times batch_size"
    return [] if before == now else [f"{line} samples from now on"]


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
    if scheduler_state is not None and hasattr(scheduler, "_get_closed_form_lr"):
        scheduler = copy.copy(scheduler)
        scheduler.load_state_dict(scheduler_state)
        for group, rate in zip(groups, scheduler._get_closed_form_lr(), strict=True):
            group["lr"] = rate
