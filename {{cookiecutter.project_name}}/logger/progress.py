"""What is said of a training: within an epoch, and when an epoch is over."""

import csv
import logging
import sys
from collections.abc import Iterable
from datetime import timedelta
from importlib.util import find_spec
from logging import Logger
from pathlib import Path
from time import monotonic
from typing import Any

from utils import distributed
from utils.files import atomic_write
from utils.optim import learning_rates

LINES = 10  # in an epoch at most


class Progress:
    """On a terminal a bar for each epoch, elsewhere a line now and then, as in train.log."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._began = self._shown = (0.0, -1)  # training, and the last values: when, at which batch
        self._lines = 0

    def bar(self, trainer: Any, batches: Iterable[Any], what: str = "") -> Iterable[Any]:
        """The same batches, behind a bar where there is a terminal to show it."""
        if not what:
            self._shown = (monotonic(), batches_done(trainer))
            self._began = self._shown if self._began[1] < 0 else self._began
            self._lines = lines_due(trainer)
        is_wanted = trainer.logger.isEnabledFor(logging.DEBUG) and distributed.is_main()
        if not (is_wanted and sys.stdout.isatty() and find_spec("tqdm")):
            return batches
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread beside the training
        style = {"bar_format": "{desc} {bar:20} {n_fmt}/{total_fmt}{postfix}", "miniters": 1}
        style |= {"dynamic_ncols": True, "leave": False, "file": sys.stdout}
        if what:
            return tqdm(batches, what, delay=0.5, **style)
        what = f"epoch {trainer.epoch}/{trainer.epochs}"
        length, done = trainer.len_epoch or None, trainer.batch_idx
        self._bar = tqdm(batches, what, length, initial=done, **style)
        return self._bar

    def show(self, trainer: Any) -> None:
        """Means since the last call, with the speed and the time left; in TensorBoard too."""
        if not distributed.is_main():
            return
        values = trainer.train_metrics.window() | learning_rates(trainer.optimizer)
        trainer.writer.set_step(trainer.step)
        for key, value in values.items():
            trainer.writer.add_scalar(key, value)
        now, done = monotonic(), batches_done(trainer)
        speed = (done - self._shown[1]) / max(now - self._shown[0], 1e-9)
        mean = (now - self._began[0]) / max(done - self._began[1], 1)  # with all that lies between
        left = timedelta(seconds=round(mean * max(0, trainer.epochs * trainer.len_epoch - done)))
        self._shown = (now, done)
        words = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
        if self._bar is not None:
            text = f"{left} left, {words}, {speed:,.1f} batches/s"
            self._bar.set_postfix_str(text, refresh=False)
        if (lines := lines_due(trainer)) > self._lines:
            self._lines = lines
            of_all = f"/{trainer.len_epoch}" if trainer.len_epoch else ""
            place = f"epoch {trainer.epoch:3}  batch {trainer.batch_idx}{of_all}"
            text = f"{place}  {words}  {speed:,.1f} batches/s  {left} left"
            trainer.logger.debug("%s", text, extra={"is_shown": self._bar is not None})


def lines_due(trainer: Any) -> int:
    """In an epoch so far; of unknown length, with each doubling of the batches."""
    if not trainer.len_epoch:
        return trainer.batch_idx.bit_length()
    return trainer.batch_idx * LINES // trainer.len_epoch


def batches_done(trainer: Any) -> int:
    """In the whole run."""
    return max(trainer.epoch - 1, 0) * trainer.len_epoch + trainer.batch_idx


class MetricsCsv:
    """A table with one row for each epoch, on disk as soon as the epoch ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def keep_until(self, epoch: int) -> int:
        """Take up the table of an earlier process before `epoch`; how many later rows it had."""
        if not self.path.exists():
            return 0
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.rows = [row for row in rows if int(row["epoch"]) < epoch]
        return len(rows) - len(self.rows)

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
            if n_left_out := self.csv.keep_until(first_epoch):
                line = "The %d epochs that this run has from epoch %d on are trained anew"
                self.logger.warning(line, n_left_out, first_epoch)
            self.logger.info("Values in epoch lines: training / validation")

    def add(self, log: dict[str, Any], writer: Any, step: int, is_best: bool) -> None:
        if not distributed.is_main():
            return
        self.csv.add(log)
        values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
        for key, value in values.items():
            name = key.removeprefix("val_")
            writer.set_step(step, "train_epoch" if name == key else "valid")
            writer.add_scalar(name, value)
        words = []
        for name in dict.fromkeys(key.removeprefix("val_") for key in values):
            pair = [values.get(name), values.get(f"val_{name}")]
            texts = [f"{'-' if one is None else format(one, '.4g'):<9}" for one in pair]
            words.append(f"{name} {'/ '.join(texts[: 1 if pair[1] is None else 2])}")
        self.logger.info("epoch %3d  %s%s", log["epoch"], " ".join(words), " * best" * is_best)
