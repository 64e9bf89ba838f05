"""What `parallel.sync_batch_norm` asks for."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from utils import distributed
from utils.errors import UserError


class SyncBatchNorm(Callback):
    """Where several processes train a model, its batch norm takes the statistics of all."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        if distributed.world_size() > 1 and config.settings.parallel.sync_batch_norm:
            if next(model.parameters()).device.type != "cuda":
                raise UserError("parallel.sync_batch_norm: works on GPUs only")
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place, all that is in the model

    def on_setup(self, trainer: BaseTrainer) -> None:
        norms = [x for x in trainer.model.modules() if isinstance(x, _BatchNorm)]
        if distributed.world_size() > 1 and {*map(type, norms)} - {nn.SyncBatchNorm}:
            trainer.logger.warning(
                "batch norm: each process takes the statistics of its own part of a batch; "
                "parallel.sync_batch_norm=true takes those of all, on GPUs"
            )
