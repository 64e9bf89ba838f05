"""Means over an epoch: of the values that steps return, and of metrics that collect."""

import copy
from collections.abc import Iterable
from typing import Any

from utils import distributed
from utils.errors import UserError

Sums = dict[str, tuple[float, float]]


class MetricTracker:
    """Means of named values, weighted by the number of samples behind each value.

    Tensors stay on their device until a mean is asked for; nothing waits for it before. With a
    `writer`, each update is also written as a scalar. `metrics` are
    `functions` of (output, target), whose values are to be handed to `add`, and `collectors`:
    objects with `update`, `compute` and `reset` as in torchmetrics. What these have collected is
    kept in checkpoints; tensors on `device` are there again after a resume.
    """

    def __init__(
        self, *keys: str, writer: Any = None, metrics: Iterable[Any] = (), device: Any = None
    ) -> None:
        self.keys = keys
        self.writer = writer
        self.device = device
        self.functions = {name_of(m): m for m in metrics if not hasattr(m, "compute")}
        self.collectors = [copy.deepcopy(m) for m in metrics if hasattr(m, "compute")]
        for metric in self.collectors:
            collecting().prepare(metric)
        self.reset()

    def reset(self) -> None:
        self._new: list[tuple[str, Any, float]] = []  # key, value, n of what came since `sums`
        self._sums: Sums = {key: (0.0, 0) for key in self.keys}  # of value * n, and of n
        self._window: Sums = {}
        self._has_loaded = False
        for metric in self.collectors:
            metric.reset()

    def add(self, values: dict[str, Any], n: float) -> None:
        """Add what a step returned for `n` samples. Raises TypeError for anything but a dict."""
        if not isinstance(values, dict):
            kind = type(values).__name__
            raise TypeError(f"a step must return a dict of values by name, not a {kind}")
        for key, value in values.items():
            self.update(key, value, n)

    def update(self, key: str, value: Any, n: float = 1) -> None:
        """Add a number or a one-element tensor, the mean over `n` samples; or a pair (value, n)."""
        if isinstance(value, tuple):
            value, n = value
        if hasattr(value, "detach"):
            value = value.item() if value.is_cpu and value.numel() == 1 else value.detach()
        self._new.append((key, value, n))
        if self.writer is not None:
            self.writer.add_scalar(key, value)

    def sums(self) -> Sums:
        """{key: (sum of value * n, sum of n)}, up to now."""
        new, self._new = self._new, []
        for key in dict.fromkeys(key for key, _, _ in new):
            total, count = self._sums.get(key, (0.0, 0))
            try:
                values = plain([value for name, value, _ in new if name == key])
                counts = plain([n for name, _, n in new if name == key])
                for value, n in zip(values, counts, strict=True):
                    total, count = total + value * n, count + n
            except (TypeError, RuntimeError) as error:
                raise UserError(f"{key!r} is no number: {error}") from error
            self._sums[key] = total, count
        return self._sums

    def avg(self, key: str) -> float:
        total, n = self.sums()[key]
        return total / max(n, 1)

    def result(self) -> dict[str, float]:
        """The mean of every key that was updated since the last reset, and what was collected.

        Over all processes, if there are several.
        """
        sums: Sums = {}
        for one in distributed.all_gather(self.sums()):
            for key, (total, n) in one.items():
                so_far = sums.get(key, (0.0, 0))
                sums[key] = so_far[0] + total, so_far[1] + n
        means = {key: total / n for key, (total, n) in sums.items() if n}
        collected = {name_of(m): collecting().value_of(m) for m in self.collectors}
        return means | plain_numbers(collected)

    def window(self) -> dict[str, float]:
        """The means over what came since the last call of `window` alone."""
        now = dict(self.sums())
        then, self._window = self._window, now
        changes = {
            key: [new - old for new, old in zip(one, then.get(key, (0, 0)), strict=True)]
            for key, one in now.items()
        }
        return {key: total / n for key, (total, n) in changes.items() if n}

    def state_dict(self) -> dict[str, Any]:
        """The sums, and what the collectors have."""
        collected = {name_of(m): collecting().save(m, self.device) for m in self.collectors}
        return {"sums": dict(self.sums()), "collected": collected}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state, in addition to those of other processes that were taken up before.

        Raises UserError where a metric cannot.
        """
        for key, (total, n) in state["sums"].items():
            old_total, old_n = self._sums.get(key, (0.0, 0))
            self._sums[key] = old_total + total, old_n + n
        collected = state["collected"]
        if isinstance(collected, list):  # of an older version
            collected = dict(zip(map(name_of, self.collectors), collected, strict=False))
        for metric in self.collectors:
            if (of_metric := collected.get(name_of(metric))) is not None:
                collecting().load(metric, of_metric, self.device, self._has_loaded)
        self._has_loaded = True


def plain(values: list[Any]) -> list[Any]:
    """Numbers and one-element tensors as plain numbers, with one wait for each device and type."""
    if not any(hasattr(value, "detach") for value in values):
        return values
    import torch  # slow, and not needed for --help

    kinds = [(one.device, one.dtype) if hasattr(one, "detach") else None for one in values]
    for kind in set(kinds) - {None}:
        places = [place for place, one in enumerate(kinds) if one == kind]
        found = torch.stack([values[place].reshape(()) for place in places]).tolist()
        for place, number in zip(places, found, strict=True):
            values[place] = number
    return values


def name_of(metric: Any) -> str:
    return getattr(metric, "__name__", type(metric).__name__)


def collecting() -> Any:
    """What metrics that collect need beside, the module utils/collectors.py, which takes torch."""
    from utils import collectors

    return collectors


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
        except (TypeError, ValueError, RuntimeError):
            shape = tuple(getattr(value, "shape", ()))
            raise UserError(f"{key!r} is no number, but has the shape {shape}") from None
    return numbers
