"""How long training waits for its data: in the log after an epoch, with the one thing to change.

data_wait.csv in the directory of the run has it for report.py. --check says how long an epoch is.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any

from base import BaseTrainer, Callback
from logger import add_row
from utils import distributed
from utils.errors import as_warning

MUCH = 0.1  # of the time of an epoch
SECONDS = 0.001  # for a batch: workers need about as long to hand it over


class DataWait(Callback):
    """Times the batches of the trainer's `_epoch_batches`."""

    share: float | None = None  # of the epoch
    seconds = 0.0  # for a batch
    seconds_of_step = 0.0  # with its batch, without the first one
    len_epoch = 0
    is_told = False

    def on_train_start(self, trainer: BaseTrainer) -> None:
        epoch_batches: Any = getattr(trainer, "_epoch_batches", None)
        self.len_epoch = getattr(trainer, "len_epoch", 0)
        if epoch_batches is not None:  # else a loop of one's own

            def timed() -> Iterator[Any]:
                n, waited, begin, start = 0, 0.0, monotonic(), monotonic()
                second = start  # when the second batch is asked for
                for n, item in enumerate(epoch_batches(), start=1):
                    waited += monotonic() - start
                    yield item
                    start = monotonic()
                    if n == 1:
                        second = start
                    self.share, self.seconds = waited / max(start - begin, 1e-9), waited / n
                self.seconds_of_step = (start - second) / max(1, n - 1)

            vars(trainer)["_epoch_batches"] = timed

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        if self.share is None or not distributed.is_main():
            return
        is_much = self.share > MUCH and self.seconds > SECONDS
        what = advice(trainer) if is_much else ""
        line = "Training waited for its data %.0f%% of the time%s"
        is_quiet = self.is_told or not what  # then it is in train.log alone
        trainer.logger.info(line, 100 * self.share, what, extra={"is_shown": is_quiet})
        self.is_told = not is_quiet or self.is_told
        with as_warning(trainer.logger, "data_wait.csv is not written"):
            row = {"epoch": log["epoch"], "share": round(self.share, 4), "advice": what}
            add_row(trainer.checkpoint_dir / "data_wait.csv", row)

    def findings(self, trainer: BaseTrainer) -> Iterator[tuple[str, str]]:
        """What --check is to say."""
        if self.seconds_of_step and (n := self.len_epoch):
            seconds = self.seconds_of_step * n
            yield "training time", f"about {seconds:.2g} s for an epoch of {n} batches"

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        vars(trainer).pop("_epoch_batches", None)


def advice(trainer: Any) -> str:
    """What to change where that is much."""
    loader: Any = getattr(trainer, "data_loader", None)
    if not hasattr(loader, "num_workers"):
        return ": the data loader is the slower part"
    if not loader.num_workers:
        return ": workers prepare data meanwhile: raise data_loader.args.num_workers, now 0"
    return f": more than data_loader.args.num_workers = {loader.num_workers} make them faster"
