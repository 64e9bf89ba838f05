"""Lines at the start of a run on what is easily overlooked."""

import tools
from utils import distributed
from utils.schedule import by_name


class Watcher(tools.Watcher):
    def begin(self, trainer):
        for line in advice(trainer.config.settings, trainer.data_loader):
            trainer.logger.warning(line)
        several = list(by_name(trainer.optimizer).values())
        trained = {id(p) for one in several for group in one.param_groups for p in group["params"]}
        for criterion in by_name(trainer.criterion).values():
            parameters = criterion.parameters() if hasattr(criterion, "parameters") else []
            if any(p.requires_grad and id(p) not in trained for p in parameters):
                trainer.logger.warning(
                    "loss: its parameters are not trained: the model is to hold them"
                )


def advice(settings, data_loader):
    if distributed.size() == 1 and settings.parallel.type == "fsdp":
        yield "parallel.type = fsdp: is for several processes, started with torchrun"
    if distributed.size() == 1 and (n := settings.n_gpu or 1) > 1:
        yield f"n_gpu = {n}: this process uses one; torchrun --nproc-per-node={n} train.py uses all"
    if distributed.size() > 1 and not hasattr(data_loader, "set_epoch"):
        yield "data_loader: is no BaseDataLoader, so each process has all samples that it gives"
