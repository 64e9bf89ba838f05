"""What `parallel.recompute` in the config does: less memory for a step, by computing more.

Activation checkpointing: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from base import Callback
from parse_config import ConfigParser
from utils.errors import UserError

KEY = "parallel.recompute"


class Recompute(Callback):
    """Lets the parts of these classes keep no inner activations for the backward pass."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        classes = config.settings.parallel.recompute
        for part in parts_of(model, classes, "parallel.recompute"):
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)


def parts_of(model: nn.Module, classes: list[str], key: str) -> list[nn.Module]:
    """The parts of a model that are of these classes, which the config names under `key`.

    Raises UserError where the model has none of a class.
    """
    parts = [(type(one).__name__.removeprefix("FSDP"), one) for one in model.modules()]
    known = {name for name, _ in parts}
    if missing := [name for name in classes if name not in known]:
        raise UserError(f"{key}: the model has no {missing[0]}, but {', '.join(sorted(known))}")
    return [one for name, one in parts if name in classes]
