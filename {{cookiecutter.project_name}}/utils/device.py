"""Where and how a model computes: the device, formats of numbers, compiling."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from utils import distributed
from utils.errors import UserError


def get_device(name: str = "auto") -> torch.device:
    """The device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Of several processes each has a GPU of its own. Raises UserError where there is no such device.
    """
    n_gpus = torch.cuda.device_count()
    available = ["cuda", *(f"cuda:{n}" for n in range(n_gpus))] if n_gpus else []
    available += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    if name == "auto":
        name = available[0]
    if name not in available:
        raise UserError(f"device {name!r} is not there; this machine has: {', '.join(available)}")
    if distributed.world_size() == 1 or not name.startswith("cuda"):
        return torch.device(name)
    if int(os.environ["LOCAL_WORLD_SIZE"]) > n_gpus:  # told by all alike: none waits for another
        raise UserError(f"torchrun: --nproc-per-node is more than this machine's GPUs, {n_gpus}")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def prepare_model(model: Any, settings: Any) -> None:
    """Set up the model, in place, as `settings` of the trainer say."""
    torch.set_float32_matmul_precision("high" if settings.precision == "tf32" else "highest")
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile is not False:
        model.compile(**({} if settings.compile is True else settings.compile))


def autocast(precision: str, device: torch.device, enabled: bool = True) -> AbstractContextManager:
    """A context, to be entered any number of times, in which operations take that precision."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype, enabled) if dtype else nullcontext()


@contextmanager
def averaged_model(trainer: Any) -> Iterator[None]:
    """Meanwhile `trainer.model` has no DDP around it, or is the average that tools/ema.py keeps."""
    trained, was_training = trainer.model, trainer.model.training
    average = trainer.state.get("ema")
    trainer.model = distributed.unwrap(trained) if average is None else average.module
    try:
        yield
    finally:
        trainer.model = trained.train(was_training)
