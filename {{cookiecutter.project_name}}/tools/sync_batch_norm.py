"""What `parallel.sync_batch_norm` asks for, and what to know without it."""

import logging

from torch import nn

from base import Callback
from parse_config import ConfigParser
from utils import distributed
from utils.errors import UserError


class SyncBatchNorm(Callback):
    """Where several processes train a model, its batch norm takes the statistics of all."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        if distributed.world_size() == 1:
            return
        if config.settings.parallel.sync_batch_norm:
            if next(model.parameters()).device.type != "cuda":
                raise UserError("parallel.sync_batch_norm: works on GPUs only")
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place, all that is in the model
        elif any(isinstance(x, nn.modules.batchnorm._BatchNorm) for x in model.modules()):
            line = "batch norm: each process takes the statistics of its own part of a batch;"
            line += " parallel.sync_batch_norm=true takes those of all, on GPUs"
            logging.getLogger("trainer").warning(line)
