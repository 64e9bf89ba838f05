"""Schedules whose arguments have a value for each parameter group, by the names of `groups`.

`"type": "tools.by_group.OneCycleLR"` is the schedule of that name in torch. Where torch takes a
list with a value for each group, it takes a block too: {"": 0.01, "body.*": 0.001}, in which "" is
for the parameters that no pattern fits.
"""

from inspect import isclass, signature
from typing import Any

from torch.optim import lr_scheduler

from utils.errors import UserError


def __getattr__(name: str) -> Any:
    """A function that makes the schedule of a name."""
    kind = getattr(lr_scheduler, name, None)
    if not (isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler)):
        raise AttributeError(f"there is no schedule {name!r} in torch.optim.lr_scheduler")

    def make(optimizer: Any, **args: Any) -> Any:
        return kind(optimizer, **{key: listed(optimizer, key, one) for key, one in args.items()})

    make.__name__, make.__module__ = name, __name__
    make.__signature__ = signature(kind)  # type: ignore[attr-defined]
    return make


def listed(optimizer: Any, argument: str, value: Any) -> Any:
    """A block as a list in the order of the groups. Raises UserError where it has other names."""
    if not isinstance(value, dict):
        return value
    names = [group.get("name", "") for group in optimizer.param_groups]
    if {*names} != value.keys():
        groups = ", ".join(map(repr, names))
        raise UserError(
            f"lr_scheduler: {argument} = {value}: must have a value for each of {groups}"
        )
    return [value[name] for name in names]
