"""What a run says: messages on the console and in train.log, progress, and a row for each epoch."""

import csv
import logging
import sys
from contextlib import suppress
from datetime import timedelta
from logging.handlers import MemoryHandler
from pathlib import Path
from time import monotonic
from typing import Any

from utils import distributed
from utils.errors import as_warning
from utils.files import atomic_write
from utils.optim import learning_rates


class ConsoleHandler(logging.Handler):
    """Prints to what standard output is at that moment; errors to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "is_shown", False):
            return
        file = sys.stderr if record.levelno >= logging.ERROR else sys.stdout
        with suppress(OSError, ValueError):  # a console that is gone, or has no such letters
            print(distributed.speaker() + self.format(record), file=file, flush=True)


def setup_logging(save_dir: str | Path | None = None) -> None:
    """Show log messages on the console; once there is a run directory, all go to its train.log too.

    Of several processes, the others than the main one show errors only, and have log files of their
    own for errors and warnings.
    """
    root, is_main = logging.getLogger(), distributed.is_main()
    logging.raiseExceptions = False  # a full disk ends no run, nor fills the console
    kept = next((one for one in root.handlers if isinstance(one, MemoryHandler)), None)
    if kept is None:
        root.addHandler(ConsoleHandler(logging.NOTSET if is_main else logging.ERROR))
        kept = MemoryHandler(capacity=1)  # keeps all messages until it has a file
        kept.setLevel(logging.NOTSET if is_main else logging.WARNING)
        root.addHandler(kept)
    if save_dir is not None:
        if kept.target is not None:
            kept.target.close()  # that of an earlier run in this process
        name = "train.log" if is_main else f"train_rank{distributed.rank()}.log"
        file = logging.FileHandler(Path(save_dir) / name, encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        file.addFilter(lambda _: bool(file.stream) or Path(save_dir).exists())  # runs get removed
        kept.setTarget(file)
        kept.flush()


class Progress:
    """A line, and points on TensorBoard's curves, every `trainer.log_step` batches."""

    def start_epoch(self, trainer: Any) -> None:
        """The speed, and so the time left, is that since this call."""
        self.began, self.first_batch = monotonic(), trainer.batch_idx

    def show(self, trainer: Any) -> None:
        """Means since the last call, the learning rates, the speed, and the time left."""
        values = trainer.train_metrics.window() | learning_rates(trainer.optimizer)
        if not distributed.is_main():
            return
        trainer.writer.set_step(trainer.step)
        for key, value in values.items():
            trainer.writer.add_scalar(key, value)
        words = [f"{key} {value:.4g}" for key, value in values.items()]
        seconds = (monotonic() - self.began) / (trainer.batch_idx - self.first_batch)  # of a batch
        words.append(f"{1 / max(seconds, 1e-9):,.1f} batches/s")
        n_left = trainer.len_epoch * (trainer.epochs - trainer.epoch + 1) - trainer.batch_idx
        if n_left > 0:
            words.append(f"{timedelta(seconds=round(n_left * seconds))} left")
        of_all = f"/{trainer.len_epoch}" if trainer.len_epoch else ""
        place = f"epoch {trainer.epoch:3}  batch {trainer.batch_idx}{of_all}"
        trainer.logger.debug("%s  %s", place, "  ".join(words))


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add the row of an epoch to a table, in place of those that it has from this epoch on."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [one for one in csv.DictReader(file) if int(one["epoch"]) < row["epoch"]]
    rows.append(row)
    with atomic_write(path) as file:
        columns = dict.fromkeys(key for one in rows for key in one)
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def log_epoch(trainer: Any, log: dict[str, Any], is_best: bool) -> None:
    """What an epoch gave: a line on the console, a row in metrics.csv, a point on each curve."""
    if not distributed.is_main():
        return
    with as_warning(trainer.logger, "metrics.csv is not written"):
        add_row(trainer.checkpoint_dir / "metrics.csv", log)
    values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
    for key, value in values.items():
        name = key.removeprefix("val_")
        trainer.writer.set_step(trainer.step, "train_epoch" if name == key else "valid")
        trainer.writer.add_scalar(name, value)
    words = "  ".join(f"{key} {value:<10.4g}" for key, value in values.items())
    trainer.logger.info("epoch %3d  %s%s", log["epoch"], words, " * best" if is_best else "")
