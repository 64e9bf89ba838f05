"""What is said of a training: within an epoch, and when an epoch is over."""

import csv
from datetime import timedelta
from logging import Logger
from pathlib import Path
from time import monotonic
from typing import Any

from utils import distributed
from utils.files import atomic_write
from utils.optim import learning_rates


class Progress:
    """A line, and points on TensorBoard's curves, every `trainer.log_step` batches."""

    def __init__(self) -> None:
        self.began = self.epoch_began = (0.0, 0)  # in this process: when, after which batch

    def start_epoch(self, trainer: Any) -> None:
        """The speed is that since then, and the time left goes by all since the first call."""
        self.epoch_began = (monotonic(), batches_done(trainer))
        self.began = self.began if self.began[0] else self.epoch_began

    def show(self, trainer: Any) -> None:
        """Means since the last call, the learning rates, the speed, and the time left."""
        if not distributed.is_main():
            return
        values = trainer.train_metrics.window() | learning_rates(trainer.optimizer)
        trainer.writer.set_step(trainer.step)
        for key, value in values.items():
            trainer.writer.add_scalar(key, value)
        done = batches_done(trainer)
        words = [f"{key} {value:.4g}" for key, value in values.items()]
        words.append(f"{1 / self.seconds(self.epoch_began, done):,.1f} batches/s")
        if n_left := max(0, trainer.epochs * trainer.len_epoch - done):
            words.append(
                f"{timedelta(seconds=round(n_left * self.seconds(self.began, done)))} left"
            )
        self.say(trainer, "  ".join(words))

    def seconds(self, since: tuple[float, int], done: int) -> float:
        """Of a batch."""
        return max(monotonic() - since[0], 1e-9) / max(done - since[1], 1)

    def say(self, trainer: Any, text: str, is_shown: bool = False) -> None:
        of_all = f"/{trainer.len_epoch}" if trainer.len_epoch else ""
        place = f"epoch {trainer.epoch:3}  batch {trainer.batch_idx}{of_all}"
        trainer.logger.debug("%s  %s", place, text, extra={"is_shown": is_shown})


def batches_done(trainer: Any) -> int:
    """In the whole run."""
    return (trainer.epoch - 1) * trainer.len_epoch + trainer.batch_idx


class MetricsCsv:
    """A table with one row for each epoch, on disk as soon as the epoch ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def keep_until(self, epoch: int) -> None:
        """Take up what the table of an earlier process has before `epoch`."""
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        columns = dict.fromkeys(key for one in self.rows for key in one)
        with atomic_write(self.path) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


class EpochLog:
    """What an epoch gave: a line on the console, a row in metrics.csv, a point on each curve."""

    def __init__(self, run_dir: Path, logger: Logger) -> None:
        self.csv = MetricsCsv(run_dir / "metrics.csv")
        self.logger = logger

    def start(self, first_epoch: int) -> None:
        """Drop what an earlier process has logged of `first_epoch` and after."""
        if distributed.is_main():
            self.csv.keep_until(first_epoch)

    def add(self, log: dict[str, Any], writer: Any, step: int, is_best: bool) -> None:
        if not distributed.is_main():
            return
        self.csv.add(log)
        values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
        for key, value in values.items():
            name = key.removeprefix("val_")
            writer.set_step(step, "train_epoch" if name == key else "valid")
            writer.add_scalar(name, value)
        words = "  ".join(f"{key} {value:<10.4g}" for key, value in values.items())
        self.logger.info("epoch %3d  %s%s", log["epoch"], words, " * best" * is_best)
