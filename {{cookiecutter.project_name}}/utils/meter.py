import copy

from utils import distributed
from utils.errors import UserError


class MetricTracker:
    """Means of named values, weighted by the number of samples behind each value.

    Sums of tensors stay on their device, in float64 where it has that type: nothing waits for the
    device until a mean is asked for. With a `writer`, each update is also written as a scalar.
    `metrics` are measured with `measure`: functions of (output, target), whose values are to be
    handed to `add`, and objects with `update`, `compute` and `reset`, which collect by themselves.
    """

    def __init__(self, *keys, writer=None, metrics=()):
        self.keys = keys
        self.writer = writer
        self.functions = [m for m in metrics if not hasattr(m, "compute")]
        self.collectors = [copy.deepcopy(m) for m in metrics if hasattr(m, "compute")]
        self.reset()

    def reset(self):
        self._totals = dict.fromkeys(self.keys, 0.0)
        self._counts = dict.fromkeys(self.keys, 0)
        self._window = {}
        for metric in self.collectors:
            metric.reset()

    def measure(self, output, target):
        """The values of the functions by name; the collectors only take the batch in."""
        for metric in self.collectors:
            metric.update(output, target)
        return {name_of(metric): metric(output, target) for metric in self.functions}

    def add(self, values, n):
        for key, value in values.items():
            self.update(key, value, n)

    def update(self, key, value, n=1):
        """Add a number or a one-element tensor, the mean over `n` samples; or a pair (value, n)."""
        if isinstance(value, tuple):
            value, n = value
        if key not in self._counts:
            self._totals[key], self._counts[key] = 0.0, 0
        try:
            self._totals[key] = _sum(self._totals[key], value, n)
        except (TypeError, RuntimeError) as error:
            raise TypeError(f"{key!r} is no number: {value!r:.80}") from error
        self._counts[key] += n
        if self.writer is not None:
            self.writer.add_scalar(key, value)

    def avg(self, key):
        return float(self._totals[key]) / max(float(self._counts[key]), 1)

    def result(self):
        """The mean of every key that was updated since the last reset, and what was collected.

        Over all processes, if there are several.
        """
        sums = {key: (float(self._totals[key]), float(n)) for key, n in self._counts.items()}
        ranks = distributed.gather(sums)
        keys = dict.fromkeys(key for one in ranks for key in one)
        of_all = {key: [one[key] for one in ranks if key in one] for key in keys}
        totals = {
            key: [sum(column) for column in zip(*one, strict=True)] for key, one in of_all.items()
        }
        means = {key: total / n for key, (total, n) in totals.items() if n}
        return means | {name_of(one): float(of_all_ranks(one).compute()) for one in self.collectors}

    def window(self):
        """The means over what came since the last call of `window` alone."""
        now = {key: (float(self._totals[key]), n) for key, n in self._counts.items()}
        then, self._window = self._window, now
        changes = {
            key: (total - then.get(key, (0, 0))[0], n - then.get(key, (0, 0))[1])
            for key, (total, n) in now.items()
        }
        return {key: total / float(n) for key, (total, n) in changes.items() if n}

    def state_dict(self):
        """The sums, and what the collectors have."""
        collected = [_collected(metric) for metric in self.collectors]
        return {"totals": self._totals, "counts": self._counts, "collected": collected}

    def load_state_dict(self, state):
        """Take up the sums of a state, in addition to those that are there."""
        for key, n in state["counts"].items():
            self._totals[key] = self._totals.get(key, 0.0) + state["totals"][key]
            self._counts[key] = self._counts.get(key, 0) + n
        for metric, collected in zip(self.collectors, state["collected"], strict=True):
            if collected is None:
                metric.reset()
            elif hasattr(metric, "load_state_dict"):
                metric.load_state_dict(collected)
            else:
                vars(metric).update(collected)


def of_all_ranks(metric):
    """A collecting metric with what every process has collected.

    Those of torchmetrics do it by themselves in `compute`; others have a method `merge` that takes
    in another process's `state_dict`, or its attributes where it has none.
    """
    if distributed.size() == 1 or hasattr(metric, "sync"):
        return metric
    if not hasattr(metric, "merge"):
        raise UserError(f"metrics: for several processes {name_of(metric)} needs a method merge")
    whole = copy.deepcopy(metric)
    whole.reset()
    for state in distributed.gather(_collected(metric)):
        whole.merge(state)
    return whole


def _sum(total, value, n):
    """total + value * n, on the device of the value and in float64 where it has that."""
    if not hasattr(value, "detach"):
        return total + value * n
    value = value.detach().reshape(())
    if isinstance(total, float):
        exact = value if value.device.type == "mps" else value.double()
        total = exact.new_full((), total)
    if total.device != value.device:  # it comes from a checkpoint
        total = total.to(value.device)
    return total.add_(value, alpha=n) if isinstance(n, int) else total.add_(value * n)


def _collected(metric):
    """The state_dict of a metric, else its attributes; None if a checkpoint cannot hold them."""
    from utils.checkpoint import to_plain  # takes torch

    if hasattr(metric, "state_dict"):
        return metric.state_dict()
    try:
        return to_plain(vars(metric))
    except TypeError:
        return None


def name_of(metric):
    return getattr(metric, "__name__", type(metric).__name__)
