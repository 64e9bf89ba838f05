"""Hooks that the trainer calls at the start and end of training and of each epoch."""

from typing import Any

from torch import nn

from base.base_trainer import BaseTrainer
from parse_config import ConfigParser


class Callback:
    """Methods that are called at these moments, in all processes; override those that you need.

    A file in tools/ with a `class Name(Callback):` is found by being there. For one of your own
    elsewhere: `trainer.callbacks.append(...)`. A UserError from one before the first epoch refuses
    the run.
    """

    def on_check(self, config: ConfigParser, mistakes: list, before_data: bool = False) -> None:
        """The config was checked; you may add to `mistakes`, a list of (path, text), or remove."""

    def on_data_built(self, data_loader: Any, config: ConfigParser) -> None:
        """The data loader is built, the model not yet; `config.read` may take other values."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        """The model is on its device and may be changed in place; there is no optimizer yet."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        """Before a checkpoint is loaded; you may replace parts, such as `trainer.saver`."""

    def on_checkpoint_load(self, trainer: BaseTrainer, state: dict[str, Any]) -> None:
        """Before a run goes on from `state`, the content of a checkpoint, which may be edited."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        """Before the first epoch of this process; a checkpoint has been taken up."""

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        """After an epoch and its checkpoint; `log` has the values that it gave, by name."""

    def on_error(self, trainer: BaseTrainer, error: Exception) -> Exception | None:
        """An error ends the run: a UserError that you return is told in its place, in one line."""

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        """After the last: "finished", "stopped early", "interrupted" or "failed: ..."."""

    def on_test_start(self, trainer: BaseTrainer) -> None:
        """Before test.py evaluates `trainer.model` on `trainer.data_loader`."""
