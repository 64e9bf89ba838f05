"""Several processes that train one model, as torchrun starts them. Without it, all this is idle.

torch.distributed is imported and started only where torchrun has said so in the environment.
"""

import gc
import os
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import cache
from math import inf
from time import monotonic

from utils.errors import UserError
from utils.optional import need_tool

SECONDS = 0.5  # from one vote of the processes to the next, where steps take less
STEPS = 64  # between the two at most, as later ones may take longer


@cache
def size():
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@cache
def rank():
    """The number of this process among all, from 0: the one that writes and speaks."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def is_main():
    return rank() == 0


def speaker():
    """Who says something: nothing for the main process."""
    return "" if is_main() else f"rank {rank()}: "


def speaks(error):
    """Whether this process is to show an error. Of several with the same error one shows it.

    That is the main process, unless it has not got the error within a second.
    """
    if not is_started():
        return is_main()  # a mistake in the config, which all have
    from torch.distributed.distributed_c10d import _get_default_store

    store, name = _get_default_store(), str(rank())
    try:
        if not is_main():
            with suppress(RuntimeError):  # the time is over
                store.wait([error], timedelta(seconds=1))
        return store.compare_set(error, "", name).decode() == name
    except RuntimeError:  # the store has ended, perhaps with the process that had it
        return True


def launch():
    """What names this call of torchrun, on all machines and after restarts; None without it."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def is_restart():
    """Whether torchrun has started the processes anew, after one of them died."""
    return launch() is not None and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def process_group():
    """While entered, the processes can speak to each other: by gloo on CPUs, by nccl on GPUs."""
    if size() == 1:
        yield
        return
    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # later, its default arguments would keep the group

    if (local_rank := int(os.environ["LOCAL_RANK"])) < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
    dist.init_process_group(**fresh_store())
    yield
    dist.barrier()  # one that leaves while another still sends may crash on its way out
    dist.destroy_process_group()  # not after an error: others may wait for this process
    gc.collect()  # a model in a cycle keeps the group, whose threads may abort Python's exit


def fresh_store():
    """Where the processes find each other after a restart, as arguments; else torch's own way.

    The store of torchrun lives on, with the addresses of the processes before, which some of the
    new ones would call (pytorch's issue 135712). Of several machines each counts by itself.
    """
    env = os.environ
    is_shared = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not (is_restart() and is_shared and env.get("GROUP_WORLD_SIZE") == "1"):
        return {}
    import torch.distributed as dist

    store = dist.TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False)
    store = dist.PrefixStore(f"restart {env['TORCHELASTIC_RESTART_COUNT']}", store)
    return {"store": store, "rank": rank(), "world_size": size()}


def is_started():
    if size() == 1:
        return False
    import torch.distributed as dist

    return dist.is_initialized()


def own_device(device):
    """Of the GPUs of a machine, the one that belongs to this process."""
    if size() == 1 or device.type != "cuda":
        return device
    import torch

    n_gpus, local_rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if local_rank >= n_gpus:
        raise UserError(
            f"torchrun: --nproc-per-node is more than the GPUs of this machine, {n_gpus}"
        )
    return torch.device("cuda", local_rank)


def agree(make):
    """What `make` gives in the main process, in all of them; what it raises there, too."""
    if size() == 1:
        return make()
    import torch.distributed as dist

    answer = [None, None]
    if is_main():
        try:
            answer = [make(), None]
        except Exception as error:
            answer = [None, error]
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def gather(value):
    """The list of what every process has, in the order of their ranks."""
    if size() == 1:
        return [value]
    import torch.distributed as dist

    values = [None] * size()
    dist.all_gather_object(values, value)
    return values


class Votes:
    """What any process asks for, made known to all in the same step.

    A vote takes as long as a small step, so there are two in a second where steps are
    shorter.
    """

    def __init__(self):
        self._pending = None
        self._calls, self._every = 0, 1  # calls since the last vote; and between two, for all alike
        self._since = None  # the last vote

    def cast(self, *numbers, wait=False):
        """For each number, the largest of all processes'; 0 where this call is no vote.

        With several processes these are the numbers of the vote before, as they come in while
        training goes on; with `wait`, they are those of now.
        """
        if size() == 1:
            return numbers
        self._calls += 1
        if self._calls < self._every and not wait:
            return (0,) * len(numbers)
        import torch
        import torch.distributed as dist

        pace = 0
        if self._since is not None:
            pace = self._calls * SECONDS / max(monotonic() - self._since, 1e-9)
        self._calls, self._since = 0, monotonic()
        before = self._pending
        votes = torch.tensor([*numbers, min(STEPS, int(pace))], dtype=torch.int64)
        now = votes, dist.all_reduce(votes, dist.ReduceOp.MAX, async_op=True)
        for _, work in [before or now] + [now] * wait:
            work.wait()
        self._pending = None if wait else now
        known, _ = now if wait else before or now
        *found, self._every = known.tolist()
        return tuple(found)


def is_sharded(model):
    return any(cls.__name__ == "FSDPModule" for cls in type(model).__mro__)


def shard(model, device, settings):
    """Leave of each weight only the part of this process, where the config asks for it."""
    if settings.parallel.type == "fsdp" and size() > 1:
        sharded = need_tool("sharded", "parallel.type fsdp")
        sharded.shard(model, device, settings.trainer.precision, settings.parallel.blocks)


def own_parts(state, model, optimizer):
    """The state in a file as this process has it: with its parts of what is sharded."""
    if not is_sharded(model):
        return state
    return need_tool("sharded", "FSDP").to_parts(state, model, optimizer)


def sharded_saver(model):
    """What writes the checkpoints of a sharded model; None for any other."""
    if not is_sharded(model):
        return None
    return need_tool("sharded", "FSDP").ShardedSaver()


def wrap(model, device, settings):
    """The model with its gradients averaged over all processes; `unwrap` gives it back."""
    if size() == 1 or is_sharded(model) or unwrap(model) is not model:  # which does so by itself
        return model
    import torch
    from torch.nn.parallel import DistributedDataParallel

    if settings.sync_batch_norm:
        if device.type != "cuda":
            raise UserError("parallel.sync_batch_norm: works on GPUs only")
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    devices = [device.index] if device.type == "cuda" else None
    unused = settings.find_unused_parameters
    return DistributedDataParallel(
        model, devices, find_unused_parameters=unused, gradient_as_bucket_view=True
    )  # with no second copy of the gradients


def unwrap(model):
    return model.module if type(model).__name__ == "DistributedDataParallel" else model


def whole(tensor):
    """A tensor of which each process may have a part, as one that all have."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def add_up(tensor):
    """The sum over all processes, in place."""
    import torch.distributed as dist

    dist.all_reduce(tensor)
    return tensor


def share_buffers(model):
    """Give all processes the buffers of the main one, such as the statistics of batch norm."""
    if size() > 1:
        import torch.distributed as dist

        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def common_batches(data_loader):
    """How many batches, from the first on, surely come in all processes."""
    if size() == 1:
        return inf
    sampler = getattr(data_loader, "batch_sampler", None)
    return len(sampler) - 1 if hasattr(sampler, "bounds") else 0


def averaging(model, is_last):
    """A context for a batch: of several in one step, only the last averages the gradients."""
    if is_sharded(model):
        model.set_requires_gradient_sync(is_last)
    return nullcontext() if is_last or unwrap(model) is model else model.no_sync()
