"""Optimizers and schedules, one or several by name: built from the config, and what they say."""

from typing import Any

from utils.errors import UserError
from utils.extras import find_hook


def by_name(value: Any) -> dict[str, Any]:
    """What there may be once, several times by name, or not at all, as a dict."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def build_optimizers(config: Any, modules: Any, model: Any) -> Any:
    """The optimizer of all that is trained, or those of the parts of the model by name."""

    def build(path: Any) -> Any:
        name = "".join(path[1:])  # "" of one alone
        try:
            part = model.get_submodule(name)
        except AttributeError:
            parts = ", ".join(child for child, _ in model.named_children())
            raise UserError(f"optimizer.{name}: the model has no such part, but {parts}") from None
        parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
        if groups := by_name(config.settings.optimizer)[name].groups:
            parameters = find_hook("parameter_groups", "optimizer.groups")(part, groups)
        return config.init_obj(path, modules, parameters)

    return config.init_each("optimizer", build)


def build_schedulers(config: Any, modules: Any, optimizers: Any) -> Any:
    """The schedule of the config, or those by name, as the optimizers; None without."""

    def build(path: Any, name: str) -> Any:
        inner = range(len(config.part(path)["args"].get("schedulers", [])))  # as in SequentialLR
        schedulers = [build((*path, "args", "schedulers", index), name) for index in inner]
        given = {"schedulers": schedulers} if schedulers else {}
        return config.init_obj(path, modules, optimizer=by_name(optimizers)[name], **given)

    return config.init_each("lr_scheduler", lambda path: build(path, "".join(path[1:])))


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
