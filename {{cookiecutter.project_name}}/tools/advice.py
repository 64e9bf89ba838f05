"""Lines at the start of a run on what is easily overlooked."""

import os
from collections.abc import Iterator
from typing import Any

import torch

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from settings import Settings
from utils import distributed
from utils.run_dir import is_run

OTHER_LAUNCHERS = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


class Advice(Callback):
    """Warnings before the first epoch."""

    def on_data_built(self, data_loader: Any, config: ConfigParser) -> None:
        for line in begins_anew(data_loader):  # it may draw here alone
            config.get_logger("train").warning(line)

    def on_train_start(self, trainer: BaseTrainer) -> None:
        loader, config = getattr(trainer, "data_loader", None), trainer.config
        if config.resume is not None and not is_run(config.resume.parent):
            line = "%s is in no run directory: its state goes on in a new run"
            trainer.logger.info(line, config.resume)
        for line in advice(config.settings, loader):
            trainer.logger.warning(line)


def advice(settings: Settings, data_loader: Any) -> Iterator[str]:
    """What a config and a data loader give reason to say."""
    n_processes = distributed.world_size()
    found = [name for name in OTHER_LAUNCHERS if int(os.environ.get(name) or 1) > 1]
    if found and "TORCHELASTIC_RUN_ID" not in os.environ:
        reason = "but this process trains by itself: start several with torchrun"
        yield f"{found[0]} is {os.environ[found[0]]}, {reason}"
    if n_processes == 1 and settings.parallel.type == "fsdp":
        yield "parallel.type = fsdp: is for several processes, started with torchrun"
    if n_processes == 1 and (n := settings.n_gpu or 1) > 1:
        yield f"n_gpu = {n}: this process uses one; torchrun --nproc-per-node={n} train.py uses all"
    if n_processes > 1 and data_loader is not None and not hasattr(data_loader, "set_epoch"):
        yield "data_loader: is no BaseDataLoader, so each process has all samples that it gives"


def begins_anew(data_loader: Any) -> Iterator[str]:
    """Generators of random numbers of which no checkpoint has the state."""
    for what in ("dataset", "sampler"):
        for name, value in getattr(getattr(data_loader, what, None), "__dict__", {}).items():
            is_seeded = what == "sampler" and isinstance(value, torch.Generator)  # by ours
            if type(value).__name__ in ("Generator", "Random", "RandomState") and not is_seeded:
                yield f"{what}: {name} begins anew in a resumed run: draw from torch.rand, say"
