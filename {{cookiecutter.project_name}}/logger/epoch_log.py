"""What is said of an epoch when it is over: on the console, in metrics.csv and in TensorBoard."""

import csv
from logging import Logger
from pathlib import Path
from typing import Any

from utils import distributed
from utils.files import atomic_write


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
