"""Checkpoints: files of tensors and plain types, written in one step, read without running code.

`collect` and `restore` say what a checkpoint holds of a trainer. Add to it by `trainer.state`.
`trainer.saver` is this module; a callback may put another thing with `save`, `load`, `wait` there.
"""

import copy
import os
import pickle
import shutil
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from utils import distributed
from utils.errors import RunError, UserError, in_full, in_one_line
from utils.extras import find_hook
from utils.files import atomic_write
from utils.seed import get_random_state, set_random_state

State = dict[str, Any]
# What a state has where a file has nothing, and the names of PyTorch's tutorial
DEFAULTS: State = {"epoch": 0, "step": 0, "batch_idx": 0, "not_improved_count": 0, "ranks": []}
DEFAULTS |= dict.fromkeys(["arch", "state_dict", "optimizer", "lr_scheduler"])
DEFAULTS |= dict.fromkeys(["monitor_best", "random", "config"])
NUMPY, ON_CPU = "of NumPy", "on the CPU"  # marks of tensors
TUTORIAL = {"model_state_dict": "state_dict", "optimizer_state_dict": "optimizer"}


def wait() -> None:
    """Until the last `save` is complete; raises what went wrong with it."""


def save(
    state: State, path: Path, *more_paths: Path, then: Callable[[], None] = lambda: None
) -> None:
    """Write `state` in the main process under one name or several; call `then` when it is done.

    A name is given in one step: no half file ever has it. Raises TypeError where the state holds
    more than tensors and plain types, RunError where it cannot be written, or not be read again.
    """
    if not distributed.is_main():
        return
    state = to_plain(state)
    try:
        with atomic_write(path, "wb") as file:
            torch.save(state, file)
            file.flush()
            torch.load(file.name, weights_only=True, mmap=True)  # all but the numbers
        for other in more_paths:
            link(path, other)
    except Exception as error:
        cause: Any = error if isinstance(error, OSError) else error.__context__ or error
        reason = getattr(cause, "strerror", None) or in_one_line(cause)
        raise RunError(f"{path}: cannot be written: {reason}; the others are intact") from None
    then()


def link(path: Path, other: Path) -> None:
    """Give a file a second name, or make a copy where the file system has no links."""
    temporary = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    try:
        os.link(path, temporary)
    except OSError:
        shutil.copyfile(path, temporary)
    os.replace(temporary, other)


def load(path: str | Path) -> State:
    """The state in a checkpoint, on the CPU. Runs no code from the file; UserError if it is bad."""
    return complete(read(Path(path), mmap=distributed.world_size() > 1), path)


def read(path: Path, mmap: bool = True) -> State:
    """The dict in a file, on the CPU. Raises UserError where that is not tensors and plain types.

    With `mmap`, tensors are read when they are used, and processes share the memory for them.
    """
    if path.is_dir():
        return find_hook("read_folder", f"{path}: is a folder, as of a sharded model")(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # compares the sums in the file
                raise zipfile.BadZipFile
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        return state if isinstance(state, dict) else {}
    except zipfile.BadZipFile:
        fault = "damaged, or not a checkpoint of torch 1.6 or later"
    except pickle.UnpicklingError:
        how = f"python train.py --convert {path} makes a checkpoint of it"
        fault = f"holds more than tensors and plain types; {how}"
    except Exception as error:  # such as a kind of tensor that this version of torch refuses
        fault = f"cannot be read: {getattr(error, 'strerror', None) or in_one_line(error)}"
    raise UserError(f"{path}: {fault}")


def complete(state: State, path: str | Path) -> State:
    """A state with all keys that this project expects. Raises UserError where it has no weights."""
    state = {TUTORIAL.get(k, k): v for k, v in state.items()}
    if not state.get("state_dict"):
        fault = "holds no weights under 'state_dict' or 'model_state_dict'"
        raise UserError(f"{path}: {state.get('fault', fault)}")
    return DEFAULTS | state


def to_plain(value: Any, path: str = "checkpoint") -> Any:
    """`value` in types that `load` can read, where that changes nothing but the type.

    Raises TypeError that names the first thing which cannot be.
    """
    if type(value) in (dict, OrderedDict, Counter):
        plain = copy.copy(value)  # keeps the `_metadata` that a state_dict carries as an attribute
        plain.clear()
        for key, one in value.items():
            plain[to_plain(key, f"a key of {path}")] = to_plain(one, f"{path}.{key}")
        return plain
    if type(value) in (list, tuple):
        return type(value)(to_plain(one, f"{path}[{i}]") for i, one in enumerate(value))
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (torch.Tensor, nn.Parameter, str, bytes, bool, int, float):
        return value
    for kind, to_kind in ((str, str.__str__), (int, int.__int__), (float, float.__float__)):
        if issubclass(type(value), kind):  # such as a member of an Enum
            return to_kind(value)
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    raise TypeError(f"{path} is a {type(value).__name__}: keep tensors and plain types only")


def set_weights(model: nn.Module, state_dict: State, path: Any) -> None:
    """Load weights. Raises UserError that names the first few which do not fit."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(f"{path}: does not fit {type(model).__name__}: {faults}") from None


def weights_to_use(state: State) -> State:
    """The weights that a model is used with: their moving average, where the run has kept one."""
    if not (averaged := state.get("ema")):
        return state["state_dict"]
    return {k.removeprefix("module."): w for k, w in averaged.items() if k != "n_averaged"}


def pack(state: Any, device: torch.device) -> Any:
    """`state` with NumPy's arrays, and tensors not on `device`, each in a dict that says so."""

    def mark(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            return {NUMPY: torch.from_numpy(np.array(value))}
        is_elsewhere = isinstance(value, torch.Tensor) and value.device.type != device.type
        return {ON_CPU: value} if is_elsewhere else value

    return tree_map(mark, state)


def unpack(state: Any, device: torch.device | str) -> Any:
    """The counterpart of `pack`, with tensors on `device` but for those that were elsewhere."""

    def is_marked(value: Any) -> bool:
        return isinstance(value, dict) and [*value] in ([NUMPY], [ON_CPU])

    def unmark(value: Any) -> Any:
        if is_marked(value):
            return value[ON_CPU] if ON_CPU in value else value[NUMPY].numpy()[()]
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return tree_map(unmark, state, is_leaf=is_marked)


def get_state(part: Any) -> Any:
    """The state_dict of an object, of each in a dict of objects, or None for none."""
    if isinstance(part, dict):
        return {name: get_state(one) for name, one in part.items()}
    return None if part is None else part.state_dict()


def set_state(part: Any, state: Any) -> None:
    """The counterpart of get_state. What has no state stays as it is."""
    if isinstance(part, dict):
        for name, one in part.items():
            set_state(one, (state or {}).get(name))
    elif part is not None and state is not None:
        part.load_state_dict(state)
        if hasattr(part, "param_groups"):
            part._opt_called = True  # torch's own name: else it warns of a scheduler's next step


def shared_parts(trainer: Any) -> dict[str, Any]:
    """What is the same in all processes and has a state, by its key in a checkpoint."""
    model = distributed.unwrap(trainer.model)
    parts = {"optimizer": trainer.optimizer, "lr_scheduler": trainer.lr_scheduler}
    return {"state_dict": model, **parts, **trainer.state}


def collect(trainer: Any, epochs_done: int) -> State:
    """The state of a trainer, as tensors and plain types; the same in all processes."""
    own = pack(get_state(trainer.rank_state), trainer.device)
    ranks = distributed.all_gather({"random": get_random_state(), **own})
    return {
        "arch": type(distributed.unwrap(trainer.model)).__name__,
        "epoch": epochs_done,
        "step": trainer.step,
        "batch_idx": trainer.batch_idx,
        **get_state(shared_parts(trainer)),
        "monitor_best": trainer.mnt_best,
        "not_improved_count": trainer.not_improved_count,
        **ranks[0],
        "ranks": ranks[1:],
        "config": trainer.config.given,
    }


def restore(trainer: Any, state: State) -> None:
    """The counterpart of `collect`. Raises UserError where something does not fit."""
    resume, ranks, n = trainer.config.resume, [state, *state["ranks"]], distributed.world_size()
    is_ours = state["random"] is not None  # else other code has written it
    if is_ours and len(ranks) != n:
        raise UserError(f"{resume}: is of {len(ranks)} processes, not of {n}: {in_full()}")
    parts = shared_parts(trainer)
    set_weights(parts.pop("state_dict"), state["state_dict"], resume)
    for name, part in parts.items():
        try:
            set_state(part, state.get(name) or None)  # {} is that of a switch which was off
        except ValueError as error:  # as of an optimizer of other parameters
            how = "init_from begins a new run with its weights alone"
            raise UserError(f"{resume}: its {name} does not fit: {error}; {how}") from None
    trainer.start_epoch = state["epoch"] + 1
    trainer.step, trainer.batch_idx = state["step"], state["batch_idx"]
    if state["monitor_best"] is not None:
        trainer.mnt_best = float(state["monitor_best"])
        trainer.not_improved_count = state["not_improved_count"]
    if not is_ours:
        return
    own = ranks[distributed.rank()]
    for name, part in trainer.rank_state.items():
        if name != "train_metrics" or trainer.batch_idx > 0:  # else they begin anew
            device = "cpu" if name == "data_loader" else trainer.device
            set_state(part, unpack(own.get(name), device))
    set_random_state(own["random"])
