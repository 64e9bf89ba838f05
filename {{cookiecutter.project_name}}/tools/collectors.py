"""Metrics that collect: objects with `update`, `compute` and `reset`, as those of torchmetrics.

With no such metric, delete this file.
"""

import copy

from utils import UserError, distributed
from utils.checkpoint import to_plain
from utils.meter import name_of


def value_of(metric):
    """What a metric has made of all batches, those of other processes too."""
    return float(merged(metric).compute())


def merged(metric):
    """A metric with what every process has collected.

    Those of torchmetrics do it by themselves in `compute`; others have a method `merge` that takes
    in another process's `state_dict`, or its attributes where it has none.
    """
    if distributed.size() == 1 or hasattr(metric, "sync"):
        return metric
    if not hasattr(metric, "merge"):
        raise UserError(f"metrics: for several processes {name_of(metric)} needs a method merge")
    whole = copy.deepcopy(metric)
    whole.reset()
    for state in distributed.gather(state_of(metric)):
        whole.merge(state)
    return whole


def state_of(metric):
    """The state_dict of a metric, else its attributes; None if a checkpoint cannot hold them."""
    if hasattr(metric, "state_dict"):
        return metric.state_dict()
    try:
        return to_plain(vars(metric))
    except TypeError:
        return None


def load(metric, state):
    """The counterpart of `state_of`."""
    if state is None:
        metric.reset()
    elif hasattr(metric, "load_state_dict"):
        metric.load_state_dict(state)
    else:
        vars(metric).update(state)
