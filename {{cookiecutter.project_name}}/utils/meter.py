"""Means over an epoch: of the values that steps return, and of metrics that collect.

The latter are objects with `update`, `compute` and `reset`, as in torchmetrics. What they have
collected goes into checkpoints: their `state_dict`, or else their attributes.
"""

import copy
from collections.abc import Iterable
from typing import Any

from utils import distributed
from utils.errors import UserError

Sums = dict[str, tuple[float, float]]  # of value * n, and of n


class MetricTracker:
    """Means of named values, weighted by the number of samples behind each value.

    Tensors stay on their device until a mean is asked for; nothing waits for it before. With a
    `writer`, each update is also written as a scalar. `metrics` are `functions` of (output, target)
    whose values are to be handed to `add`, and `collectors`.
    """

    def __init__(self, *keys: str, writer: Any = None, metrics: Iterable[Any] = ()) -> None:
        self.keys, self.writer, metrics = keys, writer, list(metrics)
        self.functions = {name_of(m): m for m in metrics if not hasattr(m, "compute")}
        self.collectors = [copied(m) for m in metrics if hasattr(m, "compute")]
        for metric in self.collectors:
            for part in metric.modules() if hasattr(metric, "modules") else []:
                if hasattr(part, "persistent"):  # of torchmetrics: so its state_dict has the state
                    part.persistent(True)
        self.reset()

    def reset(self) -> None:
        self._new: dict[str, list[tuple[Any, Any]]] = {}  # (value, n) that are not in the sums yet
        self._sums: Sums = {key: (0.0, 0) for key in self.keys}
        self._window: Sums = {}
        for metric in self.collectors:
            metric.reset()

    def add(self, values: dict[str, Any], n: float) -> None:
        """Add what a step returned for `n` samples. Raises UserError for anything but a dict."""
        if not isinstance(values, dict):
            reason = f"return a dict of values by name, not a {type(values).__name__}"
            raise UserError(f"train_step and valid_step are to {reason}")
        for key, value in values.items():
            self.update(key, value, n)

    def update(self, key: str, value: Any, n: float = 1) -> None:
        """Add a number or a one-element tensor, the mean over `n` samples; or a pair (value, n)."""
        if isinstance(value, tuple):
            value, n = value
        if hasattr(value, "detach"):
            value = value.item() if value.is_cpu and value.numel() == 1 else value.detach()
        self._new.setdefault(key, []).append((value, n))
        if self.writer is not None:
            self.writer.add_scalar(key, value)

    def sums(self) -> Sums:
        """{key: (sum of value * n, sum of n)}, up to now."""
        new, self._new = self._new, {}
        for key, pairs in new.items():
            try:
                values, counts = (plain_list(each) for each in zip(*pairs, strict=True))
            except (TypeError, ValueError, RuntimeError) as error:
                raise UserError(f"{key!r} is no number: {error}") from error
            for value, n in zip(values, counts, strict=True):  # one by one, whenever it is called
                add_to(self._sums, key, value * n, n)
                add_to(self._window, key, value * n, n)
        return self._sums

    def avg(self, key: str) -> float:
        total, n = self.sums()[key]
        return total / max(n, 1)

    def window(self) -> dict[str, float]:
        """The means over what came since the last call of `window` alone."""
        self.sums()
        window, self._window = self._window, {}
        return {key: total / n for key, (total, n) in window.items() if n}

    def result(self) -> dict[str, float]:
        """The mean of every key that was updated since the last reset, and what was collected.

        Over all processes, if there are several.
        """
        sums: Sums = {}
        for of_process in distributed.all_gather(self.sums()):
            for key, (total, n) in of_process.items():
                add_to(sums, key, total, n)
        means = {key: total / n for key, (total, n) in sums.items() if n}
        collected = plain_numbers({name_of(m): of_all(m).compute() for m in self.collectors})
        for key in [key for key, value in collected.items() if not isinstance(value, (int, float))]:
            raise UserError(f"{key!r} is no number: compute() gives one, or a dict of them")
        return means | collected

    def state_dict(self) -> dict[str, Any]:
        collected = {name_of(metric): state_of(metric) for metric in self.collectors}
        return {"sums": dict(self.sums()), "collected": collected}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums |= state["sums"]
        for metric in self.collectors:
            collected = state["collected"].get(name_of(metric))
            if collected is not None:  # else the metric was not there before
                getattr(metric, "load_state_dict", vars(metric).update)(collected)


def copied(metric: Any) -> Any:
    try:
        return copy.deepcopy(metric)
    except Exception as error:  # what some subclasses of Tensor raise
        raise UserError(f"metrics: {name_of(metric)} cannot be copied: {error}") from error


def name_of(metric: Any) -> str:
    return getattr(metric, "__name__", type(metric).__name__)


def add_to(sums: Sums, key: str, total: float, n: float) -> None:
    old_total, old_n = sums.get(key, (0.0, 0))
    sums[key] = old_total + total, old_n + n


def plain_list(values: Iterable[Any]) -> list[float]:
    """Numbers or one-element tensors as plain numbers; tensors of a GPU with one wait for it."""
    if not all(hasattr(value, "detach") for value in values):
        return [float(value) for value in values]
    import torch  # slow, and not needed for --help

    return torch.stack([value.reshape(()) for value in values]).tolist()


def plain_numbers(log: dict[str, Any]) -> dict[str, Any]:
    """The log of an epoch with one-element tensors and NumPy numbers as floats.

    What a dict in it has comes by names such as "outer_inner". Raises UserError for a vector.
    """
    numbers: dict[str, Any] = {}
    for key, value in log.items():
        if isinstance(value, dict):
            numbers |= {f"{key}_{k}": one for k, one in plain_numbers(value).items()}
            continue
        try:
            numbers[key] = float(value) if hasattr(value, "item") else value
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{key!r} is no number: {error}") from None
    return numbers


def of_all(metric: Any) -> Any:
    """A metric with what every process has collected; torchmetrics sees to it in `compute`."""
    if distributed.world_size() == 1 or hasattr(metric, "persistent"):
        return metric
    together = copy.deepcopy(metric)
    together.reset()
    for state in distributed.all_gather(state_of(metric)):
        together.merge(state)
    return together


def state_of(metric: Any) -> dict[str, Any]:
    """The state_dict of a metric that collects, else its attributes."""
    return metric.state_dict() if hasattr(metric, "state_dict") else dict(vars(metric))
