"""Several processes that train one model, as torchrun starts them. With one, nothing is done here.

The words are those of torch.distributed. What several do is in utils/processes.py.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """The number of this process among all, from 0: the main one, which writes and speaks."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def is_main() -> bool:
    return rank() == 0


def speaker() -> str:
    """What a message begins with: nothing in the main process, "rank 1: " in another."""
    return "" if is_main() else f"rank {rank()}: "


def _several() -> Any:
    from utils import processes  # takes torch: --help does not wait for it

    return processes


def process_group() -> AbstractContextManager:
    """While entered, the processes can speak to each other: by gloo on CPUs, by nccl on GPUs."""
    return nullcontext() if world_size() == 1 else _several().process_group()


def on_main(function: Callable[[], T]) -> T:
    """What `function` returns in the main process, in all of them; what it raises there, too."""
    return function() if world_size() == 1 else _several().on_main(function)


def broadcast(value: T) -> T:
    """The value of the main process, in all of them."""
    return on_main(lambda: value)


def all_gather(value: T) -> list[T]:
    """What every process has, in the order of their ranks."""
    return [value] if world_size() == 1 else _several().all_gather(value)


def all_reduce(number: float, op: str = "SUM") -> float:
    """The sum, or "MAX", of a number over all processes, by way of the CPU."""
    return number if world_size() == 1 else _several().all_reduce(number, op)


def broadcast_buffers(model: Any) -> None:
    """Give all processes the buffers of the main one, such as the statistics of batch norm."""
    if world_size() > 1:
        _several().broadcast_buffers(model)


def wrap(trainer: Any) -> Any:
    """Its model with gradients averaged over all processes, as the config's `parallel` says."""
    return trainer.model if world_size() == 1 else _several().wrap(trainer)


def unwrap(model: Any) -> Any:
    """The model itself, without DistributedDataParallel around it."""
    return model.module if type(model).__name__ == "DistributedDataParallel" else model
