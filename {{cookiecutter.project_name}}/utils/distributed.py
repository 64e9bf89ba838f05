"""Several processes that train one model, as torchrun starts them. With one, nothing is done here.

The words are those of torch.distributed. What needs it stands in utils/process_group.py, which only
several processes import.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from utils.loop import length_of

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")


@cache
def world_size() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@cache
def rank() -> int:
    """The number of this process among all, from 0: the one that writes and speaks."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def is_main() -> bool:
    return rank() == 0


def launch_id() -> str | None:
    """What names this call of torchrun, on all machines and after restarts; None without it."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def is_restart() -> bool:
    """Whether torchrun has started the processes anew, after one of them died."""
    return launch_id() is not None and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def alone() -> Iterator[None]:
    """While entered, this process works as if there were no others, for what only it does."""
    launch = os.environ.pop("TORCHELASTIC_RUN_ID", None)
    world_size.cache_clear()
    rank.cache_clear()
    try:
        yield
    finally:
        if launch is not None:
            os.environ["TORCHELASTIC_RUN_ID"] = launch
        world_size.cache_clear()
        rank.cache_clear()


def speaker() -> str:
    """What a message begins with: nothing in the main process, "rank 1: " in another."""
    return "" if is_main() else f"rank {rank()}: "


def started() -> Any:
    """What is done with several processes, the module utils/process_group.py."""
    from utils import process_group

    return process_group


def on_main(function: Callable[[], T]) -> T:
    """What `function` returns in the main process, in all of them; what it raises there, too."""
    return function() if world_size() == 1 else started().on_main(function)


def broadcast(value: T) -> T:
    """The value of the main process, in all of them."""
    return on_main(lambda: value)


def all_gather(value: T) -> list[T]:
    """What every process has, in the order of their ranks."""
    return [value] if world_size() == 1 else started().all_gather(value)


def mean(number: float) -> float:
    """The mean over all processes, which wait for each other."""
    return number if world_size() == 1 else started().mean(number)


def latest_max(signal: int, save_at: int = 0, wait: bool = False) -> tuple[int, int]:
    """The maximum over all processes of a signal to stop, and of a step to save at (0: none).

    All get the same numbers in the same step. With several processes these are what they had half
    a second ago, or 0, so that no step waits for them; with `wait` they are those of now.
    """
    if world_size() == 1:
        return signal, save_at
    return started().LATEST.max(signal, save_at, wait)


def all_reduce_max(tensor: "torch.Tensor") -> None:
    """Put the largest of all processes' values into each element of a tensor."""
    if world_size() > 1:
        started().all_reduce_max(tensor)


def broadcast_buffers(model: "nn.Module") -> None:
    """Give all processes the buffers of the main one, such as the statistics of batch norm."""
    if world_size() > 1:
        started().broadcast_buffers(model)


def average(gradients: "list[torch.Tensor]") -> None:
    """Replace gradients by their means over all processes; DDP and FSDP do so by themselves."""
    started().average(gradients)


def common_length(data_loader: Any) -> float:
    """How many batches of a loader surely come in all processes."""
    if world_size() == 1:
        return inf
    return min(all_gather(length_of(data_loader) or 0))


def wrap(
    model: "nn.Module", device: "torch.device", settings: Any, in_parts: bool = False
) -> "nn.Module":
    """The model with its gradients averaged over all processes, as the config's `parallel` says.

    Where several optimizers train it `in_parts`, a backward pass reaches some of the parameters,
    and more than once in a step, which DistributedDataParallel does not take: the model stays bare,
    and `Trainer.optimize` averages the gradients.
    """
    if world_size() == 1 or is_sharded(model) or unwrap(model) is not model:
        return model  # alone, or averaged by itself
    return started().wrap(model, device, settings, in_parts)


def unwrap(model: Any) -> "nn.Module":
    """The model itself, without DistributedDataParallel around it."""
    return model.module if type(model).__name__ == "DistributedDataParallel" else model


def is_sharded(model: "nn.Module") -> bool:
    """Whether each process has only its part of the weights (FSDP)."""
    return any(cls.__name__ == "FSDPModule" for cls in type(model).__mro__)


@contextmanager
def no_sync(model: Any) -> Iterator[None]:
    """For a micro-batch that is not the last of its step: the gradients are averaged later."""
    if is_sharded(model):
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)
    else:
        with nullcontext() if unwrap(model) is model else model.no_sync():
            yield
