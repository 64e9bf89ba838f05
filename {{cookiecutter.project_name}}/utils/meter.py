import copy

from utils import distributed
from utils.optional import need_tool


class MetricTracker:
    """Means of named values, weighted by the number of samples behind each value.

    Tensors stay on their device until a mean is asked for; nothing waits for it before. With a
    `writer`, each update is also written as a scalar. `metrics` are measured with `measure`:
    functions of (output, target), whose values are to be handed to `add`, and objects with
    `update`, `compute` and `reset`, which collect by themselves.
    """

    def __init__(self, *keys, writer=None, metrics=()):
        self.keys = keys
        self.writer = writer
        self.functions = {name_of(m): m for m in metrics if not hasattr(m, "compute")}
        self.collectors = [copy.deepcopy(m) for m in metrics if hasattr(m, "compute")]
        self.reset()

    def reset(self):
        self._new = []  # (key, value, n) of each update since the last look
        self._sums = {key: (0.0, 0) for key in self.keys}  # of value * n, and of n
        self._window = {}
        for metric in self.collectors:
            metric.reset()

    def measure(self, output, target):
        """The values of the functions by name; the collectors only take the batch in."""
        for metric in self.collectors:
            metric.update(output, target)
        return {name: function(output, target) for name, function in self.functions.items()}

    def add(self, values, n):
        if not isinstance(values, dict):
            kind = type(values).__name__
            raise TypeError(f"a step must return a dict of values by name, not a {kind}")
        for key, value in values.items():
            self.update(key, value, n)

    def update(self, key, value, n=1):
        """Add a number or a one-element tensor, the mean over `n` samples; or a pair (value, n)."""
        if isinstance(value, tuple):
            value, n = value
        if hasattr(value, "detach"):
            value = value.item() if value.is_cpu and value.numel() == 1 else value.detach()
        self._new.append((key, value, n))
        if self.writer is not None:
            self.writer.add_scalar(key, value)

    def sums(self):
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
                raise TypeError(f"{key!r} is no number: {error}") from error
            self._sums[key] = total, count
        return self._sums

    def avg(self, key):
        total, n = self.sums()[key]
        return total / max(n, 1)

    def result(self):
        """The mean of every key that was updated since the last reset, and what was collected.

        Over all processes, if there are several.
        """
        sums = {}
        for one in distributed.gather(self.sums()):
            for key, (total, n) in one.items():
                so_far = sums.get(key, (0.0, 0))
                sums[key] = so_far[0] + total, so_far[1] + n
        means = {key: total / n for key, (total, n) in sums.items() if n}
        return means | {name_of(m): collectors().value_of(m) for m in self.collectors}

    def window(self):
        """The means over what came since the last call of `window` alone."""
        now = dict(self.sums())
        then, self._window = self._window, now
        changes = {
            key: [new - old for new, old in zip(one, then.get(key, (0, 0)), strict=True)]
            for key, one in now.items()
        }
        return {key: total / n for key, (total, n) in changes.items() if n}

    def state_dict(self):
        """The sums, and what the collectors have."""
        collected = [collectors().state_of(metric) for metric in self.collectors]
        return {"sums": dict(self.sums()), "collected": collected}

    def load_state_dict(self, state):
        """Take up the sums of a state, in addition to those that are there."""
        for key, (total, n) in state["sums"].items():
            old_total, old_n = self._sums.get(key, (0.0, 0))
            self._sums[key] = old_total + total, old_n + n
        for metric, collected in zip(self.collectors, state["collected"], strict=True):
            collectors().load(metric, collected)


def plain(values):
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


def collectors():
    return need_tool("collectors", "a metric with update and compute")


def name_of(metric):
    return getattr(metric, "__name__", type(metric).__name__)
