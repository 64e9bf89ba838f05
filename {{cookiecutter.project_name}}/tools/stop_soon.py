"""Several processes answer a signal within half a second; without this file, after some steps."""

from typing import Any

from base import BaseTrainer, Callback
from tools.save_minutes import LatestMax
from utils import distributed
from utils.run import stop_if_asked


class StopSoon(Callback):
    """Lets the processes ask each other twice in a second."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        if distributed.world_size() == 1:
            return
        save_or_stop_if_due: Any = trainer._save_or_stop_if_due
        latest_max = LatestMax()

        def stop_or_go_on() -> None:
            if latest_max(trainer.stop_signals.received):
                stop_if_asked(trainer, trainer.epoch - 1)
            save_or_stop_if_due()

        vars(trainer)["_save_or_stop_if_due"] = stop_or_go_on

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        vars(trainer).pop("_save_or_stop_if_due", None)
