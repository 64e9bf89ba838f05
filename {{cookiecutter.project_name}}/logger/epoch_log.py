"""What is said of an epoch when it is over."""

from logging import Logger
from pathlib import Path
from typing import Any

from logger.metrics_csv import MetricsCsv
from utils import distributed


class EpochLog:
    """What an epoch gave: a line on the console, a row in metrics.csv, a point on each curve."""

    def __init__(self, run_dir: Path, logger: Logger, writer: Any) -> None:
        self.csv = MetricsCsv(run_dir / "metrics.csv")
        self.logger = logger
        self.writer = writer

    def start(self, first_epoch: int) -> None:
        """Drop what an earlier process has logged of `first_epoch` and after."""
        if not distributed.is_main():
            return
        if n_left_out := self.csv.keep_until(first_epoch):
            line = "The %d epochs that this run has from epoch %d on are trained anew"
            self.logger.warning(line, n_left_out, first_epoch)
        self.logger.info("Values in epoch lines: training / validation")

    def add(self, log: dict[str, Any], step: int, is_best: bool) -> None:
        if not distributed.is_main():
            return
        self.csv.add(log)
        values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
        for mode, is_val in (("train_epoch", False), ("valid", True)):
            own = {k: v for k, v in values.items() if k.startswith("val_") == is_val}
            self.writer.set_step(step, mode)
            if own:
                self.writer.add_values({k.removeprefix("val_"): v for k, v in own.items()})
        self.writer.flush()
        words = []
        for name in dict.fromkeys(key.removeprefix("val_") for key in values):
            pair = [values.get(name), values.get(f"val_{name}")]
            texts = [f"{'-' if one is None else format(one, '.4g'):<9}" for one in pair]
            words.append(f"{name} {'/ '.join(texts[: 1 if pair[1] is None else 2])}")
        self.logger.info("epoch %3d  %s%s", log["epoch"], " ".join(words), " * best" * is_best)
