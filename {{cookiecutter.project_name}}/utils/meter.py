class MetricTracker:
    """Means of named values, weighted by the number of samples behind each value.

    Sums of tensors stay on their device, in float64 where it has that type: nothing waits for the
    device until a mean is asked for. With a `writer`, each update is also written as a scalar.
    """

    def __init__(self, *keys, writer=None):
        self.keys = keys
        self.writer = writer
        self.reset()

    def reset(self):
        self._totals = dict.fromkeys(self.keys, 0.0)
        self._counts = dict.fromkeys(self.keys, 0)
        self._window = {}

    def update(self, key, value, n=1):
        """Add a number or a one-element tensor, the mean over `n` samples; or a pair (value, n)."""
        if isinstance(value, tuple):
            value, n = value
        if key not in self._counts:
            self._totals[key], self._counts[key] = 0.0, 0
        if hasattr(value, "detach"):
            value = value.detach()
            if isinstance(self._totals[key], float):
                exact = value if value.device.type == "mps" else value.double()
                self._totals[key] = exact.new_full((), self._totals[key])
            self._totals[key].add_(value.reshape(()), alpha=n)
        else:
            self._totals[key] += value * n
        self._counts[key] += n
        if self.writer is not None:
            self.writer.add_scalar(key, value)

    def avg(self, key):
        return float(self._totals[key]) / max(self._counts[key], 1)

    def result(self):
        """The mean of every key that was updated since the last reset."""
        return {key: self.avg(key) for key, n in self._counts.items() if n}

    def window(self):
        """The same means over what came since the last call of `window` alone."""
        now = {key: (float(self._totals[key]), n) for key, n in self._counts.items() if n}
        then, self._window = self._window, now
        means = {}
        for key, (total, n) in now.items():
            total_before, n_before = then.get(key, (0.0, 0))
            if n > n_before:
                means[key] = (total - total_before) / (n - n_before)
        return means

    def state_dict(self):
        return {"totals": self._totals, "counts": self._counts}

    def load_state_dict(self, state):
        self._totals, self._counts = state["totals"], state["counts"]
