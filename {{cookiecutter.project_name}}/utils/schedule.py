"""Learning rates and their schedules, for one optimizer or several by name."""


def by_name(value):
    """What there may be once, several times by name, or not at all, as a dict."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def schedulers_for(interval, schedulers, settings):
    """Those of `schedulers` that move on with each "step" or each "epoch", as `settings` say."""
    intervals = {name: one.interval for name, one in by_name(settings).items()}
    several = by_name(schedulers).items()
    return [one for name, one in several if intervals.get(name, "epoch") == interval]


def learning_rates(optimizer):
    """{"lr": …}, with the name of the optimizer and the number of the group if there are more."""
    return {
        "_".join(filter(None, ["lr", name, str(index or "")])): group["lr"]
        for name, one in by_name(optimizer).items()
        for index, group in enumerate(one.param_groups)
    }
