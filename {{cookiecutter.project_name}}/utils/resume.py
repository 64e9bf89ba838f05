"""What it means for a resumed run that its config has changed."""

from utils.errors import UserError
from utils.schedule import by_name

NEXT = "from now on"
OTHER_DATA = "the coming batches are not those that the run would have had"
EFFECTS = {  # of a change, by the beginning of the key; the first that fits
    "data_loader.args.num_workers": NEXT,
    "data_loader": OTHER_DATA,
    "seed": OTHER_DATA,
    "lr_scheduler.args": "the schedule goes on as if it had always been so",
    "optimizer.args.lr": "the schedule, if there is one, goes on as if it had always been so",
    "lr_scheduler": "the new schedule begins now",
    "trainer.monitor": "the search for the best epoch begins anew",
}


def config_changes(old, new, path=()):
    """{path: (old value, new value)} of the leaves in which two configs differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {path: (old, new)}
    return {
        changed: values
        for key in dict.fromkeys([*old, *new])
        for changed, values in config_changes(old.get(key), new.get(key), (*path, key)).items()
    }


def describe_changes(changes):
    """A line for each change. UserError for another optimizer, whose state would not fit."""
    lines = []
    for path, (old, new) in changes.items():
        key = ".".join(path)
        line = f"{key}: {old} in the checkpoint, {new} now"
        if path[0] == "optimizer" and "args" not in path:
            raise UserError(f"{line}: for that, start a new run with init_from")
        effects = (EFFECTS[start] for start in EFFECTS if f"{key}.".startswith(f"{start}."))
        lines.append(f"{line}: {next(effects, NEXT)}")
    return lines


def is_new_schedule(changes):
    return any(path[0] == "lr_scheduler" and "args" not in path for path in changes)


def apply_changes(changes, optimizer, lr_scheduler):
    """Give restored optimizers and schedulers the numbers that changed since they were saved.

    The learning rate is then that of the new schedule at this point, where torch has a formula for
    it; else a new one scales the one that was reached.
    """
    for path, (old, new) in changes.items():
        if path[0] not in ("optimizer", "lr_scheduler") or "args" not in path[:-1]:
            continue
        name, argument = "" if path[1] == "args" else path[1], path[-1]
        scheduler = by_name(lr_scheduler).get(name)
        groups = by_name(optimizer)[name].param_groups
        target = [vars(scheduler)] if path[0] == "lr_scheduler" else groups
        if not all(isinstance(one, (int, float)) for one in (old, new, target[0].get(argument))):
            raise UserError(f"{'.'.join(path)}: cannot be changed in the middle of a run")
        if argument == "lr" and old > 0:
            for group in groups:
                group["lr"] *= new / old
                group["initial_lr"] = new
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [rate * new / old for rate in scheduler.base_lrs]
        else:
            for one in target:
                one[argument] = new
        if hasattr(scheduler, "_get_closed_form_lr"):
            for group, rate in zip(groups, scheduler._get_closed_form_lr(), strict=True):
                group["lr"] = rate
