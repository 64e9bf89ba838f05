"""Whether an epoch will give the monitored value. Without this file, the end of the first tells."""

from itertools import islice

import tools
from utils.check import nearest
from utils.errors import UserError
from utils.meter import name_of
from utils.seed import preserved_random_state


class Watcher(tools.Watcher):
    def begin(self, trainer):
        if fault := fault_of(trainer):
            raise UserError(f"trainer.monitor = {trainer.monitor!r}: {fault}")


def fault_of(trainer):
    """Why no epoch will give it; None where it may: what training gives, nobody knows yet."""
    name = trainer.mnt_metric.removeprefix("val_")
    if trainer.mnt_mode == "off" or name == trainer.mnt_metric or has_own_loop(trainer):
        return None
    if not trainer.do_validation:
        return "there is no validation data"
    names = {"loss", *map(name_of, trainer.metric_ftns)}
    if name not in names:
        loader = trainer.valid_data_loader
        trainer.valid_data_loader = list(islice(loader, 1))
        with preserved_random_state():
            names = set(trainer._valid_epoch(0))
        trainer.valid_data_loader = loader
    return None if name in names else f"validation gives no {name!r}; {nearest(name, names)}"


def has_own_loop(trainer):
    if not hasattr(trainer, "valid_step"):
        return True
    from trainer import Trainer  # here, as the folder of an old project has none

    return type(trainer)._train_epoch is not Trainer._train_epoch
