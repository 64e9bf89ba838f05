"""Several processes that train one model, as torchrun starts them. With one, nothing is done here.

The words are those of torch.distributed.
"""

import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

from utils.errors import UserError, in_full

if TYPE_CHECKING or "TORCHELASTIC_RUN_ID" in os.environ:  # else --help would wait for torch
    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # later, its default arguments would keep the group
    from torch import nn

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


@contextmanager
def process_group() -> Iterator[None]:
    """While entered, the processes can speak to each other: by gloo on CPUs, by nccl on GPUs."""
    if world_size() == 1:
        yield
        return
    if (local_rank := int(os.environ["LOCAL_RANK"])) < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)  # get_device refuses more processes than GPUs
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_nccl else "gloo")
    if sys.version_info < (3, 12):  # a worker may hang that starts while a thread of gloo is in
        os.register_at_fork(before=partial(sleep, 0.01))  # Python: CPython's issue 112275
    yield
    dist.barrier()  # one that leaves while another still sends may crash on its way out
    dist.destroy_process_group()  # not after an error: others may wait for this process
    gc.collect()  # a model in a cycle keeps the group, whose threads may abort Python's exit


def on_main(function: Callable[[], T]) -> T:
    """What `function` returns in the main process, in all of them; what it raises there, too."""
    if world_size() == 1:
        return function()
    answer: list[Any] = [None, None]
    if is_main():
        try:
            answer = [function(), None]
        except Exception as error:
            answer = [None, error]
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def broadcast(value: T) -> T:
    """The value of the main process, in all of them."""
    return on_main(lambda: value)


def all_gather(value: T) -> list[T]:
    """What every process has, in the order of their ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def all_reduce(number: float, op: str = "SUM") -> float:
    """The sum, or "MAX", of a number over all processes, by way of the CPU."""
    if world_size() == 1:
        return number
    result = torch.tensor(number, dtype=torch.float64)
    dist.all_reduce(result, getattr(dist.ReduceOp, op))
    return result.item()


def broadcast_buffers(model: "nn.Module") -> None:
    """Give all processes the buffers of the main one, such as the statistics of batch norm."""
    for buffer in model.buffers() if world_size() > 1 else ():
        dist.broadcast(buffer, 0)


def wrap(trainer: Any) -> "nn.Module":
    """Its model with gradients averaged over all processes, as the config's `parallel` says."""
    model, device = trainer.model, trainer.device
    if world_size() == 1 or hasattr(model, "no_sync"):  # of an extra that averages by itself
        return model
    if isinstance(trainer.optimizer, dict):  # a backward pass reaches some of the parameters only
        raise UserError(f"several optimizers with torchrun: {in_full()}")
    # The strides of a dimension of size 1, as of one channel, say nothing, and do not fit
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return nn.parallel.DistributedDataParallel(
        model,
        [device.index] if device.type == "cuda" else None,
        find_unused_parameters=trainer.config.settings.parallel.find_unused_parameters,
        gradient_as_bucket_view=True,  # with no second copy of the gradients
    )


def unwrap(model: Any) -> "nn.Module":
    """The model itself, without DistributedDataParallel around it."""
    return model.module if type(model).__name__ == "DistributedDataParallel" else model


def no_sync(model: Any) -> AbstractContextManager:
    """For a micro-batch that is not the last of its step: the gradients are averaged later."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()
