"""Several processes that train one model, as torchrun starts them. With one, nothing is done here.

The words are those of torch.distributed.
"""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING or "TORCHELASTIC_RUN_ID" in os.environ:  # else --help would wait for torch
    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # later, its default arguments would keep the group
    from torch import nn

T = TypeVar("T")
SECONDS = 0.5  # from one all_reduce of LatestMax to the next, where steps take less
STEPS = 64  # between the two at most, as later steps may take longer


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


def mean(number: float) -> float:
    """The mean over all processes, by way of the CPU."""
    if world_size() == 1:
        return number
    total = torch.tensor(number, dtype=torch.float64)
    dist.all_reduce(total)
    return total.item() / world_size()


def broadcast_buffers(model: "nn.Module") -> None:
    """Give all processes the buffers of the main one, such as the statistics of batch norm."""
    for buffer in model.buffers() if world_size() > 1 else ():
        dist.broadcast(buffer, 0)


class LatestMax:
    """The maximum over all processes of a number, such as that of a signal to stop; 0 means none.

    All get the same number in the same step, twice in a second or with `wait`; in between, 0.
    """

    def __init__(self) -> None:
        self._calls, self._every = 0, 1  # since the last all_reduce; from one to the next
        self._since = monotonic()

    def __call__(self, number: int, wait: bool = False) -> int:
        if world_size() == 1:
            return number
        self._calls += 1
        if self._calls < self._every and not wait:
            return 0
        pace = int(self._calls * SECONDS / max(monotonic() - self._since, 1e-9))
        self._calls, self._since = 0, monotonic()
        numbers = torch.tensor([number, max(1, min(STEPS, pace))])
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        number, self._every = numbers.tolist()
        return number


latest_max = LatestMax()


def wrap(model: "nn.Module", device: "torch.device", settings: Any) -> "nn.Module":
    """The model with its gradients averaged over all processes, as the config's `parallel` says."""
    if world_size() == 1 or hasattr(model, "no_sync"):  # of FSDP, which averages by itself
        return model
    # The strides of a dimension of size 1, as of one channel, say nothing, and do not fit
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return nn.parallel.DistributedDataParallel(
        model,
        [device.index] if device.type == "cuda" else None,
        find_unused_parameters=settings.find_unused_parameters,
        gradient_as_bucket_view=True,  # with no second copy of the gradients
    )


def warn_of_batch_norm(model: "nn.Module") -> None:
    if world_size() > 1:
        norms = [x for x in model.modules() if isinstance(x, nn.modules.batchnorm._BatchNorm)]
        if {*map(type, norms)} - {nn.SyncBatchNorm}:
            line = "batch norm: each process takes the statistics of its own part of a batch;"
            line += " parallel.sync_batch_norm=true takes those of all, on GPUs"
            logging.getLogger("trainer").warning(line)


def unwrap(model: Any) -> "nn.Module":
    """The model itself, without DistributedDataParallel around it."""
    return model.module if type(model).__name__ == "DistributedDataParallel" else model


def no_sync(model: Any) -> AbstractContextManager:
    """For a micro-batch that is not the last of its step: the gradients are averaged later."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()
