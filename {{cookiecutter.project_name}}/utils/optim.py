"""Optimizers and schedules, one or several by name: built from the config, and what they say."""

from fnmatch import fnmatchcase
from typing import Any

from utils.errors import UserError


def by_name(value: Any) -> dict[str, Any]:
    """What there may be once, several times by name, or not at all, as a dict."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def build_optimizers(config: Any, modules: Any, model: Any) -> Any:
    """The optimizer of the config, of all that is trained; or those of parts of the model by name.

    Raises UserError where the model has no such part.
    """

    def build(key: Any, name: str) -> Any:
        try:
            part = model.get_submodule(name)
        except AttributeError:
            parts = ", ".join(child for child, _ in model.named_children())
            raise UserError(f"optimizer.{name}: the model has no such part, but {parts}") from None
        groups = by_name(config.settings.optimizer)[name].groups
        return config.init_obj(key, modules, parameter_groups(part, groups))

    return config.init_each("optimizer", build)


def parameter_groups(part: Any, patterns: dict[str, dict[str, Any]]) -> list[Any]:
    """The parameters that are trained of a model, or of a part of it, as an optimizer takes them.

    `patterns` maps patterns of their names to arguments of the optimizer. Each parameter gets those
    of all patterns that it fits, later ones winning. Raises UserError for one that fits nothing.
    """
    named = {name: p for name, p in part.named_parameters() if p.requires_grad}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UserError(f"optimizer.groups: no parameter that is trained fits {pattern!r}")
    groups: dict[str, dict[str, Any]] = {"": {"params": []}}
    for name, parameter in named.items():
        fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        group = groups.setdefault(" ".join(fitting), {"params": [], "name": " ".join(fitting)})
        group["params"].append(parameter)
        for pattern in fitting:
            group |= patterns[pattern]
    return [group for group in groups.values() if group["params"]]


def build_schedulers(config: Any, modules: Any, optimizers: Any) -> Any:
    """The schedule of the config, or those by name, as the optimizers; None without."""

    def build(key: Any, name: str) -> Any:
        if (part := config.part(key)) is None:
            return None
        inner = range(len(part["args"].get("schedulers", [])))  # as in SequentialLR
        schedulers = [build((*key, "args", "schedulers", index), name) for index in inner]
        given = {"schedulers": schedulers} if schedulers else {}
        is_chain = part["type"].endswith("ChainedScheduler")  # its schedulers have it
        optimizer = [] if is_chain else [by_name(optimizers)[name]]
        return config.init_obj(key, modules, *optimizer, **given)

    return config.init_each("lr_scheduler", build)


def schedulers_for(interval: str, schedulers: Any, config: Any) -> list[Any]:
    """Those of `schedulers` that move on with each "step" or each "epoch", as the config says."""
    intervals = {name: x.interval for name, x in by_name(config.settings.lr_scheduler).items()}
    several = by_name(schedulers).items()
    return [one for name, one in several if intervals.get(name, "epoch") == interval]


def learning_rates(optimizer: Any) -> dict[str, float]:
    """{"lr": …}, with the names of the optimizer and of the group where there are several."""
    return {
        "_".join(filter(None, ["lr", name, group.get("name") or str(index or "")])): group["lr"]
        for name, one in by_name(optimizer).items()
        for index, group in enumerate(one.param_groups)
    }


def parameters_of(optimizer: Any) -> list[Any]:
    """All that an optimizer trains."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
