"""What `parallel.sync_batch_norm` asks for."""

from torch import nn

from base import Callback
from parse_config import ConfigParser
from utils import distributed
from utils.errors import UserError

KEY = "parallel.sync_batch_norm"


class SyncBatchNorm(Callback):
    """Where several processes train a model, its batch norm takes the statistics of all."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        if distributed.world_size() > 1 and config.settings.parallel.sync_batch_norm:
            if next(model.parameters()).device.type != "cuda":
                raise UserError("parallel.sync_batch_norm: works on GPUs only")
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place, all that is in the model
