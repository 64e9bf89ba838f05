"""What `trainer.save_every.minutes` asks for: checkpoints by the clock, within epochs too."""

from time import monotonic
from typing import Any

import torch
import torch.distributed as dist

from base import BaseTrainer, Callback
from utils import distributed
from utils.run_dir import LAST_NAME

KEY = "trainer.save_every.minutes"
MOST_STEPS = 64  # between two of LatestMax, as later steps may take longer


class LatestMax:
    """The maximum over all processes of a number, such as that of a signal to stop; 0 means none.

    All get the same number in the same step. As an all_reduce in each step takes time, there are
    two in a second, and 0 in the steps between.
    """

    def __init__(self) -> None:
        self.steps, self.every = 0, 1  # since the last all_reduce; from one to the next
        self.since = monotonic()

    def __call__(self, number: int) -> int:
        if distributed.world_size() == 1:
            return number
        self.steps += 1
        if self.steps < self.every:
            return 0
        per_second = self.steps / max(monotonic() - self.since, 1e-9)
        self.steps, self.since = 0, monotonic()
        every = min(max(1, int(per_second / 2)), MOST_STEPS)
        numbers = torch.tensor([number, every])
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        number, self.every = numbers.tolist()
        return number


class SaveMinutes(Callback):
    """Looks at the clock of the main process after each step."""

    saved_at = 0.0  # by monotonic()

    def on_train_start(self, trainer: BaseTrainer) -> None:
        minutes = trainer.config.settings.trainer.save_every.minutes
        if minutes is None or self.saved_at > 0:
            return
        self.saved_at, latest_max = monotonic(), LatestMax()
        save_or_stop_if_due: Any = trainer._save_or_stop_if_due

        def save_too() -> None:
            is_over = distributed.is_main() and monotonic() - self.saved_at >= 60 * minutes
            if latest_max(int(is_over)):
                trainer._save(trainer.epoch - 1, [LAST_NAME])
                self.saved_at = monotonic()
            save_or_stop_if_due()

        vars(trainer)["_save_or_stop_if_due"] = save_too
