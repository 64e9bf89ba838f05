"""Lines at the start of a run on what is easily overlooked."""

import tools
from utils import distributed


class Watcher(tools.Watcher):
    def begin(self, trainer):
        for line in advice(trainer.config.settings, trainer.data_loader):
            trainer.logger.warning(line)


def advice(settings, data_loader):
    if distributed.size() == 1 and (n := settings.n_gpu or 1) > 1:
        yield f"n_gpu = {n}: this process uses one; torchrun --nproc-per-node={n} train.py uses all"
    if distributed.size() > 1 and not hasattr(data_loader, "set_epoch"):
        yield "data_loader: is no BaseDataLoader, so each process has all samples that it gives"
