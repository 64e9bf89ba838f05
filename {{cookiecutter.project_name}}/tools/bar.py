"""On a terminal, a bar for each epoch in place of lines; train.log has the lines."""

import logging
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from base import BaseTrainer, Callback
from logger.logger import ConsoleHandler
from utils import distributed


class Bars(Callback):
    """Shows bars where the progress within epochs is wanted and a terminal is there."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        is_wanted = trainer.logger.isEnabledFor(logging.DEBUG) and distributed.is_main()
        if is_wanted and hasattr(trainer, "progress") and sys.stdout.isatty() and find_spec("tqdm"):
            show_bars(trainer)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        vars(trainer).pop("_epoch_batches", None)
        for handler in logging.getLogger().handlers:
            vars(handler).pop("emit", None)


def show_bars(trainer: Any) -> None:
    """Put the batches of a trainer behind a bar, and what its lines say beside it."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread beside the training
    epoch_batches = type(trainer)._epoch_batches.__get__(trainer)
    bars: list[Any] = []  # that of this epoch

    def behind_a_bar() -> Iterator[Any]:
        style = {"bar_format": "{desc} {bar:20} {n_fmt}/{total_fmt}{postfix}", "miniters": 1}
        style |= {"dynamic_ncols": True, "leave": False, "file": sys.stdout}
        what, length = f"epoch {trainer.epoch}/{trainer.epochs}", trainer.len_epoch or None
        bars[:] = [tqdm(epoch_batches(), what, length, initial=trainer.batch_idx, **style)]
        yield from bars[0]

    def emit(console: ConsoleHandler, record: logging.LogRecord) -> None:
        if record.levelno == logging.DEBUG and record.name == trainer.logger.name and record.args:
            bars[0].set_postfix_str(record.args[1], refresh=False)  # type: ignore[index]
            return
        with tqdm.external_write_mode(file=sys.stdout):  # which does not tear a bar
            ConsoleHandler.emit(console, record)

    vars(trainer)["_epoch_batches"] = behind_a_bar
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ConsoleHandler):
            vars(handler)["emit"] = partial(emit, handler)
