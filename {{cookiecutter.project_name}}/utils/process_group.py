"""How several processes work together: how they begin, what they tell each other, how they end.

Only utils/distributed.py and utils/command_line.py use it, where torchrun has started several.
"""

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # later, its default arguments would keep the group
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from utils.errors import UserError

SECONDS = 0.5  # from one all_reduce of LatestMax to the next, where steps take less
STEPS = 64  # between the two at most, as later steps may take longer


@contextmanager
def process_group() -> Iterator[None]:
    """While entered, the processes can speak to each other: by gloo on CPUs, by nccl on GPUs.

    nccl begins with the first tensor on a GPU, after `own_device` has refused too many processes.
    """
    if (local_rank := int(os.environ["LOCAL_RANK"])) < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if has_nccl else "gloo"
    dist.init_process_group(backend, **fresh_store())
    yield
    dist.barrier()  # one that leaves while another still sends may crash on its way out
    dist.destroy_process_group()  # not after an error: others may wait for this process
    gc.collect()  # a model in a cycle keeps the group, whose threads may abort Python's exit


def fresh_store() -> dict[str, Any]:
    """Where the processes find each other after a restart, as arguments; else torch's own way.

    The store of torchrun lives on, with the addresses of the processes before, which some of the
    new ones would call (pytorch's issue 135712). Of several machines each counts by itself.
    """
    env = os.environ
    restarts = env.get("TORCHELASTIC_RESTART_COUNT", "0")
    is_shared = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if restarts == "0" or not is_shared or env.get("GROUP_WORLD_SIZE") != "1":
        return {}
    shared = dist.TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False)
    store = dist.PrefixStore(f"restart {restarts}", shared)
    return {"store": store, "rank": int(env["RANK"]), "world_size": int(env["WORLD_SIZE"])}


def claim(message: str) -> bool:
    """Whether this process is the one to show an error that others may have as well.

    That is the main process, unless it has not got the error within a second.
    """
    is_main = os.environ["RANK"] == "0"
    if not dist.is_initialized():
        return is_main  # a mistake in the config, which all have
    from torch.distributed.distributed_c10d import _get_default_store

    store, name = _get_default_store(), os.environ["RANK"]
    try:
        if not is_main:
            with suppress(RuntimeError):  # the time is over
                store.wait([message], timedelta(seconds=1))
        return store.compare_set(message, "", name).decode() == name
    except RuntimeError:  # the store has ended, perhaps with the process that had it
        return True


def own_device(device: torch.device) -> torch.device:
    """Of the GPUs of a machine, the one that belongs to this process."""
    if device.type != "cuda":
        return device
    n_gpus, local_rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if local_rank >= n_gpus:
        raise UserError(
            f"torchrun: --nproc-per-node is more than the GPUs of this machine, {n_gpus}"
        )
    return torch.device("cuda", local_rank)


def wrap(model: nn.Module, device: torch.device, settings: Any, in_parts: bool) -> nn.Module:
    """The model with its gradients averaged over all processes; see utils/distributed.py."""
    if settings.sync_batch_norm:
        if device.type != "cuda":
            raise UserError("parallel.sync_batch_norm: works on GPUs only")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if in_parts:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), 0)
        return model
    # The strides of a dimension of size 1, as of one channel, say nothing, and do not fit
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(
        model,
        [device.index] if device.type == "cuda" else None,
        find_unused_parameters=settings.find_unused_parameters,
        gradient_as_bucket_view=True,  # with no second copy of the gradients
    )


def on_main(function: Callable[[], Any]) -> Any:
    """What `function` returns in the main process, in all of them; what it raises there, too."""
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
    """What every process has, in the order of their ranks."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def mean(number: float) -> float:
    """The mean over all processes, by way of the CPU."""
    total = torch.tensor(number, dtype=torch.float64)
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


def all_reduce_max(tensor: torch.Tensor) -> None:
    """Put the largest of all processes' values into each element of a tensor."""
    dist.all_reduce(tensor, dist.ReduceOp.MAX)


def average(tensors: list[torch.Tensor]) -> None:
    """Give all processes the means of their tensors."""
    if tensors:
        means = torch.cat([one.flatten() for one in tensors]) / dist.get_world_size()
        dist.all_reduce(means)
        for one, mean in zip(tensors, means.split([x.numel() for x in tensors]), strict=True):
            one.copy_(mean.view_as(one))


def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of the main one."""
    for buffer in model.buffers():
        dist.broadcast(buffer, 0)


class LatestMax:
    """Maxima over all processes that no step waits for.

    There are two all_reduce calls in a second. Each comes in while training goes on: its result is
    that of the next one.
    """

    def __init__(self) -> None:
        self._pending: Any = None
        self._calls, self._every = 0, 1  # since the last all_reduce; from one to the next, in all
        self._since = monotonic()

    def max(self, signal: int, save_at: int, wait: bool) -> tuple[int, int]:
        """The maximum of each number; 0 where this call makes no all_reduce.

        With `wait` the numbers are those of now, not those of the all_reduce before.
        """
        self._calls += 1
        if self._calls < self._every and not wait:
            return 0, 0
        pace = int(self._calls * SECONDS / max(monotonic() - self._since, 1e-9))
        self._calls, self._since = 0, monotonic()
        numbers = torch.tensor([signal, save_at, max(1, min(STEPS, pace))], dtype=torch.int64)
        now = numbers, dist.all_reduce(numbers, dist.ReduceOp.MAX, async_op=True)
        before, self._pending = self._pending or now, None if wait else now
        for _, work in (before, now) if wait else (before,):
            work.wait()
        signal, save_at, self._every = (now if wait else before)[0].tolist()
        return signal, save_at


LATEST = LatestMax()  # of this process
