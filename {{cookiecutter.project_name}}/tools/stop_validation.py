"""A signal to stop is answered within a validation too; without this file, at its end."""

from typing import Any

from base import BaseTrainer, Callback
from utils import distributed
from utils.run import stop_if_asked


class Stopped(Exception):
    """Ends a validation."""


class StopValidation(Callback):
    """Looks for a signal after each batch. Several processes stop after the epoch, all alike."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        if hasattr(trainer, "valid_step") and distributed.world_size() == 1:
            look_for_signals(trainer)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        vars(trainer).pop("_valid_epoch", None)


def look_for_signals(trainer: Any) -> None:
    """Let the validations of epochs end where a signal has come."""
    valid_step, valid_epoch, signals = (
        trainer.valid_step,
        trainer._valid_epoch,
        trainer.stop_signals,
    )

    def step(batch: Any) -> Any:
        values = valid_step(batch)
        if signals.received:
            raise Stopped
        return values

    def epoch_(epoch: int) -> Any:
        trainer.valid_step = step
        try:
            return valid_epoch(epoch)
        except Stopped:
            trainer.metrics = trainer.train_metrics
            stop_if_asked(trainer, trainer.epoch - 1)
        finally:
            trainer.valid_step = valid_step

    trainer._valid_epoch = epoch_
