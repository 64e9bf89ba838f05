"""Parts of a model by name: parameters for an optimizer, blocks by their class."""

import json
from fnmatch import fnmatchcase
from functools import partial

from utils.errors import UserError


def trainable(model, name="", patterns=None):
    """The parameters of the model, or of its part `name`, that are not frozen, in groups.

    `patterns` maps patterns of their names to arguments of the optimizer. Each parameter gets those
    of all patterns that it fits, later ones winning.
    """
    try:
        part = model.get_submodule(name)
    except AttributeError:
        parts = ", ".join(child for child, _ in model.named_children())
        raise UserError(f"optimizer.{name}: the model has no such part, but {parts}") from None
    patterns = patterns or {}
    named = {name: p for name, p in part.named_parameters() if p.requires_grad}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UserError(f"optimizer.groups: no parameter that is trained fits {pattern!r}")
    by_arguments = {"{}": []}  # those without arguments of their own come first
    for name, parameter in named.items():
        fitting = [patterns[pattern] for pattern in patterns if fnmatchcase(name, pattern)]
        arguments = {key: value for one in fitting for key, value in one.items()}
        by_arguments.setdefault(json.dumps(arguments, sort_keys=True), []).append(parameter)
    return [{"params": some, **json.loads(args)} for args, some in by_arguments.items() if some]


def blocks_of(model, classes, key):
    """The parts of a model that are of these classes; `key` is where the config names them."""
    found = [part for part in model.modules() if type(part).__name__ in classes]
    if missing := set(classes) - {type(part).__name__ for part in found}:
        known = ", ".join(sorted({type(part).__name__ for part in model.modules()}))
        raise UserError(f"{key}: the model has no {missing.pop()}, but {known}")
    return found


def recompute(model, classes):
    """Let blocks of these classes keep no inner values for the backward pass (Chen et al. 2016)."""
    from torch.utils.checkpoint import checkpoint

    for block in blocks_of(model, classes, "parallel.recompute"):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
