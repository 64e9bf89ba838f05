"""Blocks of a model by their class, which only large models need: `parallel` in the config."""

from functools import partial

from utils.errors import UserError


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
