"""Learning rates and their schedules, for one optimizer or several by name."""


def schedulers_for(interval, schedulers, settings):
    """Those of `schedulers` that move on with each "step" or each "epoch", as `settings` say."""
    if schedulers is None:
        return []
    if not isinstance(schedulers, dict):
        schedulers, settings = {"": schedulers}, {"": settings}
    intervals = {name: getattr(one, "interval", "epoch") for name, one in settings.items()}
    return [one for name, one in schedulers.items() if intervals[name] == interval]


def learning_rates(optimizer):
    """{"lr": …}, with the name of the optimizer and the number of the group if there are more."""
    several = optimizer if isinstance(optimizer, dict) else {"": optimizer}
    return {
        "_".join(filter(None, ["lr", name, str(index or "")])): group["lr"]
        for name, one in several.items()
        for index, group in enumerate(one.param_groups)
    }
