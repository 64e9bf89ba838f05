"""What `trainer.save_every.minutes` asks for: checkpoints by the clock, within epochs too."""

from time import monotonic
from typing import Any

from base import BaseTrainer, Callback
from utils import distributed
from utils.run_dir import LAST_NAME

KEY = "trainer.save_every.minutes"


class SaveMinutes(Callback):
    """Looks at the clock of the main process after each step."""

    saved_at = 0.0  # by monotonic()

    def on_train_start(self, trainer: BaseTrainer) -> None:
        minutes = trainer.config.settings.trainer.save_every.minutes
        if minutes is None or self.saved_at > 0:
            return
        self.saved_at, latest_max = monotonic(), distributed.LatestMax()
        save_or_stop_if_due: Any = trainer._save_or_stop_if_due

        def save_too() -> None:
            is_over = distributed.is_main() and monotonic() - self.saved_at >= 60 * minutes
            if latest_max(int(is_over)):
                trainer._save(trainer.epoch - 1, [LAST_NAME])
                self.saved_at = monotonic()
            save_or_stop_if_due()

        vars(trainer)["_save_or_stop_if_due"] = save_too
