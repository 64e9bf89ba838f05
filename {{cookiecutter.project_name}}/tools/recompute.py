"""What `parallel.recompute` in the config does: less memory for a step, by computing more.

Activation checkpointing: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from base import Callback
from parse_config import ConfigParser
from utils.lookup import parts_of


class Recompute(Callback):
    """Lets the parts of these classes keep no inner activations for the backward pass."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        classes = config.settings.parallel.recompute
        for part in parts_of(model, classes, "parallel.recompute"):
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)
