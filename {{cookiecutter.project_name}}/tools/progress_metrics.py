"""Metrics that collect, such as those of torchmetrics, in the lines within an epoch and in bars.

Other values there are means since the last line; these are of the epoch so far, in this process.
"""

import warnings
from contextlib import suppress
from functools import partial
from typing import Any

from base import BaseTrainer, Callback
from utils import distributed
from utils.meter import MetricTracker, name_of


class ProgressMetrics(Callback):
    """Adds them to what Progress shows."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        tracker: Any = getattr(trainer, "train_metrics", None)
        if getattr(tracker, "collectors", None):
            tracker.window = partial(window, tracker)


def window(tracker: MetricTracker) -> dict[str, float]:
    """The means since the last call, and the metrics that are one number."""
    found: dict[str, float] = {}
    for metric in tracker.collectors:
        waits_for_others = hasattr(metric, "persistent") and distributed.world_size() > 1
        # Of few samples some have no value, and torchmetrics warns of some others
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = {} if waits_for_others else metric.compute()
            if not isinstance(value, dict):
                found[name_of(metric)] = float(value)
    return MetricTracker.window(tracker) | found
