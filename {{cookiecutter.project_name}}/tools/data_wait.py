"""How long training waits for its data: in the log after an epoch, with the one thing to change."""

from collections.abc import Iterator
from time import monotonic
from typing import Any

from base import BaseTrainer, Callback

MUCH = 0.1  # of the time of an epoch


class DataWait(Callback):
    """Times the batches of the trainer's `_epoch_batches`."""

    share = 0.0  # of the epoch

    def on_train_start(self, trainer: BaseTrainer) -> None:
        epoch_batches: Any = getattr(trainer, "_epoch_batches", None)
        if epoch_batches is not None:  # else a loop of one's own

            def timed() -> Iterator[Any]:
                waited, begin, start = 0.0, monotonic(), monotonic()
                for item in epoch_batches():
                    waited += monotonic() - start
                    yield item
                    start = monotonic()
                    self.share = waited / max(start - begin, 1e-9)

            vars(trainer)["_epoch_batches"] = timed

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        line = "Training waited for its data %.0f%% of the time%s"
        only_in_file = {"is_shown": self.share <= MUCH}
        trainer.logger.info(line, 100 * self.share, advice(self.share, trainer), extra=only_in_file)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        vars(trainer).pop("_epoch_batches", None)


def advice(share: float, trainer: Any) -> str:
    """What to change where that is much."""
    loader: Any = getattr(trainer, "data_loader", None)
    if share <= MUCH or not hasattr(loader, "num_workers"):
        return ""
    if not loader.num_workers:
        return ": workers prepare data meanwhile: raise data_loader.args.num_workers, now 0"
    return f": more than data_loader.args.num_workers = {loader.num_workers} make them faster"
