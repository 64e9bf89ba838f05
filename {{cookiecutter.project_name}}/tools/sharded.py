"""Models too large for one GPU: FSDP2 keeps a part of each weight in every process.

Only `"parallel": {"type": "fsdp"}` needs this. A checkpoint is then a folder, in which each process
writes its own part. Its list of contents is a pickle: read such folders of your own runs only.
"""

import os
import shutil
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tools.blocks import blocks_of
from utils import checkpoint, distributed
from utils.errors import RunError, UserError

SHARDED = ("state_dict", "optimizer")  # the parts of a state that have sharded tensors
PLAIN_NAME = "state.pt"  # the file with all others


def shard(model, device, precision, blocks):
    """Shard the model in place: each block of a class named in `blocks` by itself, then the rest.

    To be done before the optimizer is made.
    """
    dtype = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    mesh = init_device_mesh(device.type, (distributed.size(),))
    for part in [*blocks_of(model, blocks, "parallel.blocks"), model]:
        fully_shard(part, mesh=mesh, mp_policy=policy)


class ShardedSaver:
    """As checkpoint.Saver, with a folder for each checkpoint, written by all processes together."""

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing = None
        self._group = dist.new_group(backend="gloo")  # so as not to meet those of training

    def save(self, state, *paths, then=None):
        self.wait()
        folder = paths[0].with_name(f".{paths[0].name}.tmp")
        if distributed.is_main():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            plain = {key: value for key, value in state.items() if key not in SHARDED}
            checkpoint.save(plain, folder / PLAIN_NAME)
        dist.barrier()
        parts = {key: state[key] for key in SHARDED}
        written = dcp.async_save(parts, checkpoint_id=folder, process_group=self._group)
        self._writing = self._thread.submit(_finish, written, folder, paths, then)

    def wait(self):
        if self._writing is not None:
            futures.wait([self._writing])
            writing, self._writing = self._writing, None
            writing.result()


def _finish(written, folder, paths, then):
    """Give a complete checkpoint its names. Done in the main process, it is done in all."""
    try:
        written.result()
    except Exception as error:
        raise RunError(f"{paths[0]}: cannot be written: {error}") from error
    if not distributed.is_main():
        return
    for other in paths[1:]:
        linked = other.with_name(f".{other.name}.link.tmp")
        shutil.copytree(folder, linked, copy_function=os.link)
        replace(linked, other)
    replace(folder, paths[0])
    if then is not None:
        then()


def replace(folder, path):
    """Give a folder the name of another checkpoint. At any moment one of the two can be found."""
    if path.exists():
        checkpoint.set_aside(path)
    folder.rename(path)
    checkpoint.remove(path.with_suffix(checkpoint.ASIDE))


def load(folder, model=None, optimizer=None):
    """The state in a sharded checkpoint; of a sharded model, only the parts of this process."""
    try:
        if distributed.is_sharded(model) and (parts := empty_parts(folder, model, optimizer)):
            dcp.load(parts, checkpoint_id=folder)
            return load_plain(folder) | parts | {"optimizer": with_numbers(parts["optimizer"])}
        with TemporaryDirectory() as temporary:
            dcp_to_torch_save(folder, whole := Path(temporary) / "whole.pt")
            parts = torch.load(whole, map_location="cpu", weights_only=True)
    except (OSError, dcp.CheckpointException) as error:
        raise UserError(f"{folder}: is no complete checkpoint: {error}") from None
    state = load_plain(folder) | parts | {"optimizer": with_numbers(parts["optimizer"])}
    return distributed.own_parts(state, model, optimizer)


def load_plain(folder):
    """All but weights and optimizer."""
    try:
        return torch.load(Path(folder) / PLAIN_NAME, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{folder}: is no complete checkpoint: {error}") from None


def empty_parts(folder, model, optimizer):
    """What `dcp.load` is to fill with the parts of this process; None where not all of it fits."""
    contents = dcp.FileSystemReader(folder).read_metadata()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sizes, groups, moments = {}, {}, {}
    for key, (part, *names) in contents.planner_data.items():
        saved = contents.state_dict_metadata[key]
        if part == "state_dict":
            sizes[names[0]] = getattr(saved, "size", None)
            continue
        if len(names) != 3:
            return None
        kind, index, name = names
        if kind == "param_groups" and not hasattr(saved, "size"):
            groups.setdefault(index, {})[name] = None
            continue
        if kind != "state" or int(index) >= len(parameters):
            return None
        moments.setdefault(index, {})[name] = empty_like(saved, parameters[int(index)])
    weights = model.state_dict()
    if sizes != {name: getattr(one, "shape", None) for name, one in weights.items()}:
        return None
    groups = [groups[index] for index in sorted(groups)]
    return {"state_dict": weights, "optimizer": {"state": moments, "param_groups": groups}}


def empty_like(saved, parameter):
    """Where a value from the state of an optimizer goes; a tensor is cut as its parameter is."""
    if not hasattr(saved, "size"):
        return None
    if saved.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=saved.properties.dtype)
    return torch.zeros(saved.size, dtype=saved.properties.dtype)


def with_numbers(tree):
    """The same with whole numbers as keys, which in the folder are strings."""
    if not isinstance(tree, dict):
        return tree
    return {int(k) if str(k).isdecimal() else k: with_numbers(v) for k, v in tree.items()}


def to_parts(state, model, optimizer):
    """A whole state with those parts of it that belong to this process."""
    weights = checkpoint.without_prefixes(state["state_dict"])
    own = dict(model.state_dict())
    weights = {name: like(one, own.get(name)) for name, one in weights.items()}
    parts = state | {"state_dict": weights}
    if state["optimizer"] is not None:
        parts["optimizer"] = shard_optimizer(state["optimizer"], optimizer)
    return parts


def like(value, parameter):
    """A whole tensor as the part of it that belongs to this process, as of `parameter`."""
    is_sharded = isinstance(parameter, DTensor) and value.shape == parameter.shape
    if not is_sharded:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def shard_optimizer(state, optimizer):
    """The state of an optimizer, with the parts that go with the parameters of `optimizer`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    parts = {
        index: {
            key: like(value, parameters[index]) if isinstance(value, torch.Tensor) else value
            for key, value in one.items()
        }
        for index, one in state["state"].items()
    }
    return state | {"state": parts}
