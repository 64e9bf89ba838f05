"""What it means for a resumed run that its config has changed."""

from utils.errors import UserError

NEXT = "from now on"
OTHER_DATA = "the coming batches are not those that the run would have had"
EFFECTS = {  # of a change, by the beginning of the key; None where a run cannot go on with it
    "arch": None,
    "optimizer.type": None,
    "lr_scheduler.type": "the new schedule begins now",
    "data_loader": OTHER_DATA,
    "seed": OTHER_DATA,
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
    """A line for each change; UserError where the checkpoint does not fit the new config."""
    refused, lines = [], []
    for path, (old, new) in changes.items():
        key = ".".join(path)
        effect = next((EFFECTS[start] for start in EFFECTS if key.startswith(start)), NEXT)
        line = f"{key}: {old} in the checkpoint, {new} now: "
        refused += [f"{line}the weights do not fit; start a new run for that"] if not effect else []
        lines.append(f"{line}{effect}")
    if refused:
        raise UserError("\n".join(refused))
    return lines


def apply_changes(changes, optimizer, lr_scheduler):
    """Give restored optimizers and schedulers the arguments that changed since they were saved.

    A new learning rate scales the one that the schedule had reached.
    """
    for path, (old, new) in changes.items():
        if len(path) < 3 or path[-2] != "args" or path[0] not in ("optimizer", "lr_scheduler"):
            continue
        name, argument = path[1] if len(path) == 4 else None, path[-1]
        scheduler = lr_scheduler[name] if isinstance(lr_scheduler, dict) else lr_scheduler
        if path[0] == "lr_scheduler":
            vars(scheduler).update({argument: new} if argument in vars(scheduler) else {})
            continue
        for group in (optimizer[name] if name else optimizer).param_groups:
            if argument == "lr":
                group["lr"] *= new / old
                group["initial_lr"] = new
            else:
                group[argument] = new
        if argument == "lr" and hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs = [rate * new / old for rate in scheduler.base_lrs]
