"""Metrics that collect, as those of torchmetrics do: their state, and what several processes have.

MetricTracker in meter.py uses it, where there are such metrics.
"""

import copy
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch

from utils import distributed
from utils.errors import UserError

UPDATES = "update_count"  # of a metric of torchmetrics, in its state
ARRAY, SCALAR, ELSEWHERE = "NumPy array", "NumPy scalar", "not on the device"
READERS: dict[Any, Any] = {
    ARRAY: lambda tensor: tensor.numpy().copy(),
    SCALAR: lambda tensor: tensor.numpy()[()],
    ELSEWHERE: lambda tensor: tensor,
}


def prepare(metric: Any) -> None:
    """Let the state_dict of a metric of torchmetrics have what it collects."""
    for part in parts_of_torchmetrics(metric).values():
        part.persistent(True)


def value_of(metric: Any) -> Any:
    """What a metric has made of all batches, those of other processes too."""
    return of_all(metric).compute()


def save(metric: Any, device: Any) -> Any:
    """What a metric has collected, for a checkpoint."""
    return pack(state_of(metric), device)


def load(metric: Any, state: Any, device: Any, has_loaded: bool) -> None:
    """Take up what `save` gave; where a metric `has_loaded` a state of one process, another's too.

    Raises UserError where it cannot.
    """
    (merge if has_loaded else set_state_of)(metric, unpack(state, device))


def of_all(metric: Any) -> Any:
    """A metric with what every process has collected.

    Those of torchmetrics do it by themselves in `compute`; others have a method `merge` that takes
    in another process's `state_dict`, or its attributes where it has none.
    """
    if distributed.world_size() == 1 or hasattr(metric, "sync"):
        return metric
    if not hasattr(metric, "merge"):
        name = getattr(metric, "__name__", type(metric).__name__)
        raise UserError(f"metrics: for several processes {name} needs a method merge")
    whole = copy.deepcopy(metric)
    whole.reset()
    for state in distributed.all_gather(state_of(metric)):
        whole.merge(state)
    return whole


def parts_of_torchmetrics(metric: Any) -> dict[str, Any]:
    """A metric of torchmetrics, and those that it has inside, by name; nothing of another."""
    modules = metric.named_modules() if hasattr(metric, "named_modules") else ()
    return {name: one for name, one in modules if hasattr(one, "update_count")}


def state_of(metric: Any) -> dict[str, Any]:
    """The state_dict of a metric that collects, else its attributes."""
    state = metric.state_dict() if hasattr(metric, "state_dict") else dict(vars(metric))
    if parts := parts_of_torchmetrics(metric):
        state[UPDATES] = {name: part.update_count for name, part in parts.items()}
    return state


def set_state_of(metric: Any, state: dict[str, Any]) -> None:
    """The counterpart of `state_of`."""
    if not hasattr(metric, "load_state_dict"):
        vars(metric).update(state)
        return
    counts = state.pop(UPDATES, {})
    metric.load_state_dict(state)
    for name, count in counts.items():
        metric.get_submodule(name)._update_count = count


def merge(metric: Any, state: dict[str, Any]) -> None:
    """Let a metric take in what another process has collected. UserError where it cannot."""
    if hasattr(metric, "merge"):
        metric.merge(state)
        return
    try:
        other = copy.deepcopy(metric)
        set_state_of(other, state)
        metric.merge_state(other)  # of torchmetrics
    except (AttributeError, RuntimeError) as error:
        name = getattr(metric, "__name__", type(metric).__name__)
        what = "cannot take in what another process has collected; go on with as many as before"
        raise UserError(f"metrics: {name} {what}") from error


def pack(value: Any, device: Any) -> Any:
    """`value` in the types of a checkpoint, which `unpack` makes a value of again.

    NumPy's arrays and numbers become tensors with a mark, and tensors elsewhere than on `device`
    get one. What a checkpoint cannot hold stays as it is.
    """
    if type(value) in (dict, OrderedDict, Counter):
        packed = copy.copy(value)
        for key, one in value.items():
            packed[key] = pack(one, device)
        return packed
    if type(value) in (list, tuple):
        return type(value)(pack(one, device) for one in value)
    if (isinstance(value, np.generic) or type(value) is np.ndarray) and value.dtype.kind in "biufc":
        mark = ARRAY if isinstance(value, np.ndarray) else SCALAR
        return {mark: torch.from_numpy(np.array(value))}
    if isinstance(value, torch.Tensor) and device is not None and value.device.type != device.type:
        return {ELSEWHERE: value}
    return value


def unpack(value: Any, device: Any) -> Any:
    """The counterpart of `pack`, with tensors on `device`."""
    if isinstance(value, dict):
        if len(value) == 1 and (mark := next(iter(value))) in READERS:
            return READERS[mark](value[mark])
        for key, one in value.items():
            value[key] = unpack(one, device)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(unpack(one, device) for one in value)
    return value.to(device) if device is not None and hasattr(value, "to") else value
