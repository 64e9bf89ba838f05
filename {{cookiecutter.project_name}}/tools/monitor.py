"""Whether an epoch will give the monitored value. Without this file, the end of the first tells."""

from itertools import islice

import tools
from utils.check import nearest
from utils.errors import UserError
from utils.meter import name_of
from utils.schedule import learning_rates
from utils.seed import preserved_random_state


class Watcher(tools.Watcher):
    def begin(self, trainer):
        if fault := fault_of(trainer):
            raise UserError(f"trainer.monitor = {trainer.monitor!r}: {fault}")


def fault_of(trainer):
    """Why no epoch will give it; None where it may: what a step of one's own gives, time tells."""
    name, kind = trainer.mnt_metric, type(trainer)
    if trainer.mnt_mode == "off" or not hasattr(trainer, "valid_step"):
        return None
    from trainer import Trainer  # here, as the folder of an old project has none

    if kind._train_epoch is not Trainer._train_epoch:
        return None
    of_validation = name.startswith("val_")
    if of_validation and not trainer.do_validation:
        return "there is no validation data"
    of_a_step = {"loss", *map(name_of, trainer.metric_ftns)}
    valid = {f"val_{one}" for one in of_a_step if trainer.do_validation}
    if of_validation and (name not in valid or kind.valid_step is not Trainer.valid_step):
        valid = {f"val_{one}" for one in names_of_validation(trainer)}
    elif not of_validation and kind.train_step is not Trainer.train_step:
        return None
    names = {*of_a_step, *valid, *learning_rates(trainer.optimizer)}
    names |= {"grad_norm"} if trainer.clip_grad_norm is not None else set()
    return None if name in names else f"an epoch gives no {name!r}; {nearest(name, sorted(names))}"


def names_of_validation(trainer):
    """Of the values that one batch gives."""
    loader = trainer.valid_data_loader
    trainer.valid_data_loader = list(islice(loader, 1))
    with preserved_random_state():
        names = set(trainer._valid_epoch(0))
    trainer.valid_data_loader = loader
    return names
