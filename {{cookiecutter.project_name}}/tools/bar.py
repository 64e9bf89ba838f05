"""On a terminal, a bar for each epoch in place of lines; train.log has the lines."""

import logging
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from base import BaseTrainer, Callback
from logger.logger import ConsoleHandler
from logger.progress import Progress
from utils import distributed


class Bars(Callback):
    """Shows bars where the progress within epochs is wanted and a terminal is there."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        is_wanted = trainer.logger.isEnabledFor(logging.DEBUG) and distributed.is_main()
        if is_wanted and hasattr(trainer, "progress") and sys.stdout.isatty() and find_spec("tqdm"):
            trainer.progress = BarProgress(trainer)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        vars(trainer).pop("_epoch_batches", None)
        for handler in logging.getLogger().handlers:
            vars(handler).pop("emit", None)


class BarProgress(Progress):
    """Puts the batches of a trainer behind a bar, and what there is to say beside it."""

    def __init__(self, trainer: Any) -> None:
        super().__init__()
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread beside the training
        epoch_batches = type(trainer)._epoch_batches.__get__(trainer)

        def behind_a_bar() -> Iterator[Any]:
            style = {"bar_format": "{desc} {bar:20} {n_fmt}/{total_fmt}{postfix}", "miniters": 1}
            style |= {"dynamic_ncols": True, "leave": False, "file": sys.stdout}
            what, length = f"epoch {trainer.epoch}/{trainer.epochs}", trainer.len_epoch or None
            batches = epoch_batches()
            self.bar = tqdm(batches, what, length, initial=trainer.batch_idx, **style)
            yield from self.bar

        vars(trainer)["_epoch_batches"] = behind_a_bar
        for handler in logging.getLogger().handlers:
            if isinstance(handler, ConsoleHandler):
                vars(handler)["emit"] = making_room(handler)

    def say(self, trainer: Any, text: str, is_shown: bool = False) -> None:
        self.bar.set_postfix_str(text, refresh=False)
        super().say(trainer, text, is_shown=True)


def making_room(handler: ConsoleHandler) -> Any:
    """An `emit` whose messages do not tear a bar."""
    from tqdm import tqdm

    def emit(record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stdout):
            ConsoleHandler.emit(handler, record)

    return emit
