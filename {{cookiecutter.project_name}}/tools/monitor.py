"""Whether an epoch will give the monitored value: without this file, the end of the first tells."""

from typing import Any

from base import BaseTrainer, Callback
from tools.first_batches import FirstBatches
from utils.check import nearest
from utils.errors import UserError
from utils.meter import name_of
from utils.optim import learning_rates
from utils.seed import preserved_random_state


class Monitor(Callback):
    """Refuses a `trainer.monitor` that no epoch gives."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        if fault := fault_of(trainer):
            raise UserError(f"trainer.monitor = {trainer.monitor!r}: {fault}")


def fault_of(trainer: Any) -> str | None:
    """Why no epoch will give the monitored value; None where one may.

    What an overridden `train_step` gives is not known before it has run.
    """
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
    valid = {f"val_{key}" for key in of_a_step if trainer.do_validation}
    if of_validation and (name not in valid or kind.valid_step is not Trainer.valid_step):
        valid = {f"val_{key}" for key in names_of_validation(trainer)}
    elif not of_validation and kind.train_step is not Trainer.train_step:
        return None
    names = {*of_a_step, *valid, *learning_rates(trainer.optimizer)}
    names |= {"grad_norm"} if trainer.clip_grad_norm is not None else set()
    if name in names:
        return None
    return f"an epoch gives no {name!r}; {nearest(name, sorted(names))}"


def names_of_validation(trainer: Any) -> set[str]:
    """The names of the values that validation on one batch gives."""
    loader = trainer.valid_data_loader
    try:
        with preserved_random_state():
            trainer.valid_data_loader = FirstBatches(loader, 1)
            return set(trainer._valid_epoch(0))
    finally:
        trainer.valid_data_loader = loader
