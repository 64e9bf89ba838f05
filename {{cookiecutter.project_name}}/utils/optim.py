"""Optimizers and schedules, one or several by name: parameter groups, learning rates, intervals."""

import json
from fnmatch import fnmatchcase
from typing import Any

from utils.errors import UserError


def by_name(value: Any) -> dict[str, Any]:
    """What there may be once, several times by name, or not at all, as a dict."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def schedulers_for(interval: str, schedulers: Any, config: Any) -> list[Any]:
    """Those of `schedulers` that move on with each "step" or each "epoch", as the config says."""
    if schedulers is None:
        return []
    intervals = {name: x.interval for name, x in by_name(config.settings.lr_scheduler).items()}
    several = by_name(schedulers).items()
    return [one for name, one in several if intervals.get(name, "epoch") == interval]


def learning_rates(optimizer: Any) -> dict[str, float]:
    """{"lr": …}, with the name of the optimizer and the number of the group if there are more."""
    return {
        "_".join(filter(None, ["lr", name, str(index or "")])): group["lr"]
        for name, one in by_name(optimizer).items()
        for index, group in enumerate(one.param_groups)
    }


def parameters_of(optimizer: Any) -> list[Any]:
    """All that an optimizer trains."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def parameter_groups(part: Any, patterns: dict[str, dict[str, Any]]) -> list[Any]:
    """The parameters that are trained of a model, or of a part of it, as an optimizer takes them.

    `patterns` maps patterns of their names to arguments of the optimizer. Each parameter gets those
    of all patterns that it fits, later ones winning. Raises UserError for one that fits nothing.
    """
    named = {name: p for name, p in part.named_parameters() if p.requires_grad}
    if not patterns:
        return list(named.values())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UserError(f"optimizer.groups: no parameter that is trained fits {pattern!r}")
    by_arguments: dict[str, list] = {"{}": []}  # those without arguments of their own come first
    for name, parameter in named.items():
        fitting = [patterns[pattern] for pattern in patterns if fnmatchcase(name, pattern)]
        arguments = {key: value for one in fitting for key, value in one.items()}
        by_arguments.setdefault(json.dumps(arguments, sort_keys=True), []).append(parameter)
    return [{"params": some, **json.loads(args)} for args, some in by_arguments.items() if some]
