"""Models too large for one GPU: FSDP2 keeps a part of each weight in every process.

Only `"parallel": {"type": "fsdp"}` in the config needs this. A checkpoint is then a folder such as
.step120_1.dcp, in which each process writes its own part; last.pth and the like are links to it.
The list of its contents is a pickle: read such folders of your own runs only.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils._pytree import tree_map

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from tools.recompute import parts_of
from utils import checkpoint, distributed, resume
from utils.device import get_device
from utils.errors import RunError, UserError
from utils.files import sync_names
from utils.optim import by_name

KEY = "parallel.type"

# What else FSDP takes of torch takes a second to import: each function imports it by itself

SHARDED = ("state_dict", "optimizer")  # the parts of a state that have sharded tensors
PLAIN_NAME = "state.pt"  # in a folder: all but the sharded parts
FOLDERS = ".*.dcp"  # complete checkpoints; a half-written one ends in .tmp
COPIED = ".copied.pth"  # the end of the name of a folder that gets a link


class Fsdp(Callback):
    """Shards the model before the optimizer is made, and saves and loads what is sharded."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        settings = config.settings
        if settings.parallel.type != "fsdp":
            return
        if settings.trainer.ema is not None:
            raise UserError("trainer.ema: not with parallel.type fsdp")
        if distributed.world_size() > 1:
            device = get_device(settings.device)
            shard(model, device.type, settings.trainer.precision, settings.parallel.blocks)

    def on_setup(self, trainer: BaseTrainer) -> None:
        distributed.on_main(lambda: restore_links(trainer.checkpoint_dir))
        is_ready = isinstance(trainer.saver, ShardedSaver)  # in a second call of `train`
        if is_sharded(trainer.model) and not is_ready:
            trainer.saver = ShardedSaver(trainer.model, trainer.optimizer)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        """Delete the folders of a run that was sharded before and is not any more."""
        if distributed.is_main() and outcome in ("finished", "stopped early"):
            remove_unnamed(trainer.checkpoint_dir)


def read_folder(path: Path) -> checkpoint.State:
    """What is in a sharded checkpoint but for its weights. UserError for any other folder."""
    if not (path / ".metadata").exists():  # which is written last
        raise UserError(f"{path}: is a folder: name a checkpoint in it, such as last.pth of a run")
    how = f"python train.py --unshard {path} makes a file of it"
    return {**resume.read(path / PLAIN_NAME), "fault": f"is sharded; {how}"}


def shard(model: nn.Module, device_type: str, precision: str, blocks: list[str]) -> None:
    """Shard the model in place: each block of a class named in `blocks` by itself, then the rest.

    Weights that are loaded into the model afterwards may be complete ones.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    dtype = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    mesh = init_device_mesh(device_type, (distributed.world_size(),))
    inner_first = reversed(parts_of(model, blocks, "parallel.blocks"))
    for part in [*inner_first, model]:
        fully_shard(part, mesh=mesh, mp_policy=policy)
    model.register_load_state_dict_pre_hook(take_own_parts)
    sharded: Any = type(model)  # a class that torch has made for the model
    sharded.no_sync = no_sync  # as DistributedDataParallel has it


def is_sharded(model: nn.Module) -> bool:
    """Whether each process has only its part of the weights."""
    return hasattr(model, "unshard")


@contextmanager
def no_sync(model: Any) -> Iterator[None]:
    """While entered, a backward pass leaves the gradients to be averaged by a later one."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def take_own_parts(model: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Leave the parts of this process of weights that are about to be loaded into the model."""
    own = {prefix + name: p for name, p in model.named_parameters(remove_duplicate=False)}
    for name, value in state_dict.items():
        state_dict[name] = part_of(value, own.get(name))


def part_of(value: Any, parameter: Any) -> Any:
    """Of a complete tensor the part of this process, as it has one of `parameter`.

    Another value, or of another shape, is returned as it is.
    """
    is_complete = isinstance(value, torch.Tensor) and not hasattr(value, "full_tensor")
    if not (is_complete and hasattr(parameter, "full_tensor") and value.shape == parameter.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


class ShardedSaver:
    """As BackgroundSaver, with a folder for each checkpoint, written by all processes together."""

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self._model, self._optimizer = model, optimizer
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future | None = None
        self._group = dist.new_group(backend="gloo")  # so as not to meet those of training

    def save(self, state: Any, *paths: Path, then: Callable[[], None] = lambda: None) -> None:
        """Begin to write `state`, to which all `paths` then link; call `then` when it is done."""
        import torch.distributed.checkpoint as dcp

        self.wait()
        parts = tree_map(to_number, {key: state[key] for key in SHARDED})
        others = {key: value for key, value in state.items() if key not in SHARDED}
        others["arch"] = state["arch"].removeprefix("FSDP")  # of the class that torch has made
        run_dir = paths[0].parent
        half_written = run_dir / distributed.on_main(lambda: begin_folder(run_dir, others))
        written: Any = dcp.async_save(parts, checkpoint_id=half_written, process_group=self._group)
        self._writing = self._thread.submit(finish, written, half_written, paths, then)

    def wait(self) -> None:
        """Until the last save is complete; raises what went wrong with it."""
        if self._writing is not None:
            futures.wait([self._writing])  # a signal may break in: then it is still being written
            writing, self._writing = self._writing, None
            writing.result()

    def load(self, path: Path) -> checkpoint.State:
        """The state in a checkpoint, a folder or a file, with the parts of this process.

        Weights may be complete: these are cut when they are loaded into the model.
        """
        if not (path / ".metadata").exists():
            state = resume.load(path)
        elif (parts := load_parts(path, self._model, self._optimizer)) is not None:
            return parts
        else:
            state = load_whole(path)
        if isinstance(self._optimizer, dict):
            several = {k: cut(state["optimizer"][k], one) for k, one in self._optimizer.items()}
            return state | {"optimizer": several}
        return state | {"optimizer": cut(state["optimizer"], self._optimizer)}


def to_number(value: Any) -> Any:
    """A number of NumPy, such as a learning rate, as a plain one."""
    return value.item() if isinstance(value, np.generic) else value


def begin_folder(run_dir: Path, others: checkpoint.State) -> str:
    """Make a new folder with all of a state that is not sharded; its name."""
    for n in count(1):
        folder = run_dir / f".step{others['step']}_{n}.dcp.tmp"
        if not folder.exists() and not folder.with_suffix("").exists():
            break
    folder.mkdir()
    checkpoint.save(others, folder / PLAIN_NAME)
    return folder.name


def finish(written: Future, half_written: Path, paths: tuple[Path, ...], then: Any) -> None:
    """Give a complete checkpoint its names. Complete in the main process, it is so in all."""
    from torch.distributed.checkpoint import CheckpointException

    try:
        written.result()
        if not distributed.is_main():
            return
        sync_names(half_written)
        folder = half_written.rename(half_written.with_suffix(""))
        sync_names(folder.parent)
        for path in paths:
            link(path, folder)
        sync_names(folder.parent)
    except (Exception, CheckpointException) as error:  # the latter is no Exception
        reason = str(error).strip().rpartition("\n")[2]
        raise RunError(f"{paths[0]}: cannot be written: {reason}; the others are intact") from error
    then()
    remove_unnamed(folder.parent)


def link(path: Path, folder: Path) -> None:
    """Let `path` name a checkpoint beside it. At any moment it names a complete one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    os.replace(temporary, path)


def restore_links(run_dir: Path) -> None:
    """Where a run was copied without its links, or is of an older version, make links again.

    A folder that has the name of a checkpoint could not be exchanged for another in one step. At
    any moment a complete checkpoint has a name.
    """
    for path in [*run_dir.glob("*.pth")]:
        if path.is_dir() and not path.is_symlink():
            name = path.with_name(path.name.replace(COPIED, ".pth"))
            copied = path.rename(name.with_suffix(COPIED))
            hidden = name.with_name(f".{name.stem}_{uuid4().hex[:8]}.dcp")
            name.unlink(missing_ok=True)  # a link that a kill has left without its folder
            name.symlink_to(hidden.name)
            copied.rename(hidden)


def remove_unnamed(run_dir: Path) -> None:
    """Delete the folders of checkpoints to which no name in the run directory links any more.

    Those too which a killed process has left half written: nothing is being written meanwhile.
    """
    named = {path.resolve() for path in run_dir.glob("*.pth")}
    for folder in [*run_dir.glob(FOLDERS), *run_dir.glob(f"{FOLDERS}.tmp")]:
        if folder.resolve() not in named:
            shutil.rmtree(folder, ignore_errors=True)


def load_whole(folder: Path) -> checkpoint.State:
    """The state in a sharded checkpoint with complete tensors, on the CPU.

    Raises UserError where the folder has no complete checkpoint.
    """
    from torch.distributed.checkpoint import CheckpointException
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    try:
        with TemporaryDirectory() as temporary:
            path = Path(temporary) / "whole.pt"
            dcp_to_torch_save(folder, path)
            parts = torch.load(path, map_location="cpu", weights_only=True)
        return put_together(folder, parts)
    except (OSError, CheckpointException) as error:
        raise UserError(f"{folder}: is no complete checkpoint: {error}") from None


def load_parts(folder: Path, model: nn.Module, optimizer: Any) -> checkpoint.State | None:
    """The same, with only the parts of this process; None where not all of the state fits."""
    import torch.distributed.checkpoint as dcp

    if len(by_name(optimizer)) != 1 or isinstance(optimizer, dict):
        return None
    try:
        if (parts := empty_parts(folder, model, optimizer)) is None:
            return None
        dcp.load(parts, checkpoint_id=folder)
        return put_together(folder, parts)
    except (OSError, dcp.CheckpointException) as error:
        raise UserError(f"{folder}: is no complete checkpoint: {error}") from None


def put_together(folder: Path, parts: checkpoint.State) -> checkpoint.State:
    """The state in a folder, of which `parts` are those that were sharded."""
    others = torch.load(folder / PLAIN_NAME, map_location="cpu", weights_only=True)
    optimizer = with_numbers(parts["optimizer"])
    return resume.complete(others | parts | {"optimizer": optimizer}, folder)


def empty_parts(folder: Path, model: nn.Module, optimizer: Any) -> checkpoint.State | None:
    """What `dcp.load` is to fill with the parts of this process; None where not all of it fits."""
    from torch.distributed.checkpoint import FileSystemReader

    contents = FileSystemReader(folder).read_metadata()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    shapes: dict[str, Any] = {}
    groups: dict[Any, dict] = {}
    moments: dict[Any, dict] = {}
    for key, (part, *names) in contents.planner_data.items():
        saved = contents.state_dict_metadata[key]
        if part == "state_dict":
            shapes[names[0]] = getattr(saved, "size", None)
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
    if shapes != {name: getattr(value, "shape", None) for name, value in weights.items()}:
        return None
    in_order = [groups[index] for index in sorted(groups, key=int)]
    return {"state_dict": weights, "optimizer": {"state": moments, "param_groups": in_order}}


def empty_like(saved: Any, parameter: torch.Tensor) -> torch.Tensor | None:
    """Where a value from the state of an optimizer goes; a tensor is cut as its parameter is."""
    if not hasattr(saved, "size"):
        return None
    if saved.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=saved.properties.dtype)
    return torch.zeros(saved.size, dtype=saved.properties.dtype)


def with_numbers(tree: Any) -> Any:
    """The same with whole numbers as keys, which in the folder are strings."""
    if not isinstance(tree, dict):
        return tree
    return {int(k) if str(k).isdecimal() else k: with_numbers(v) for k, v in tree.items()}


def cut(state: Any, optimizer: Any) -> Any:
    """The state of an optimizer, with the parts that go with the parameters of `optimizer`."""
    if state is None:
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    parts = {
        index: {key: part_of(value, parameters[index]) for key, value in own.items()}
        for index, own in state["state"].items()
    }
    return state | {"state": parts}
