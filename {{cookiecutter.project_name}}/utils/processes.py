"""What several processes do for the functions of these names in utils/distributed.py."""

import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import sleep
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # later, its default arguments would keep the group
from torch import nn

from utils.errors import UserError, in_full


@contextmanager
def process_group() -> Iterator[None]:
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


def on_main(function: Callable[[], Any]) -> Any:
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer = [function(), None]
        except Exception as error:
            answer = [None, error]
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def all_gather(value: Any) -> list[Any]:
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def all_reduce(number: float, op: str) -> float:
    result = torch.tensor(number, dtype=torch.float64)
    dist.all_reduce(result, getattr(dist.ReduceOp, op))
    return result.item()


def broadcast_buffers(model: nn.Module) -> None:
    for buffer in model.buffers():
        dist.broadcast(buffer, 0)


def wrap(trainer: Any) -> nn.Module:
    model, device = trainer.model, trainer.device
    if hasattr(model, "no_sync"):  # of an extra that averages by itself
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
