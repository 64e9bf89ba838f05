"""Checkpoints: files of tensors and plain types, written in one step. utils/resume.py reads them.

`collect` says what a checkpoint holds of a trainer. Add to it by `trainer.state`. `trainer.saver`
is this module; a callback may put another thing with `save` and `wait`, and maybe `load`, there.
"""

import copy
import os
import shutil
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from utils import distributed
from utils.errors import RunError, in_one_line
from utils.files import atomic_write
from utils.optim import by_name
from utils.seed import get_random_state

State = dict[str, Any]
# What a state has where a file has nothing
DEFAULTS: State = {"epoch": 0, "step": 0, "batch_idx": 0, "not_improved_count": 0, "ranks": []}
DEFAULTS |= dict.fromkeys(["arch", "state_dict", "optimizer", "lr_scheduler"])
DEFAULTS |= dict.fromkeys(["monitor_best", "random", "config"])
NUMPY, ON_CPU = "of NumPy", "on the CPU"  # marks of tensors


def wait() -> None:
    """Nothing, as `save` returns when all is written; tools/background.py has one that waits."""


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
        with open(path, "rb") as source, atomic_write(other, "wb") as file:
            shutil.copyfileobj(source, file)
    else:
        os.replace(temporary, other)


def to_plain(value: Any, path: str = "checkpoint") -> Any:
    """`value` in types that can be read again, where that changes nothing but the type.

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


def pack(state: Any, device: torch.device) -> Any:
    """`state` with NumPy's arrays, and tensors not on `device`, each in a dict that says so."""

    def mark(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            return {NUMPY: torch.from_numpy(np.array(value))}
        is_elsewhere = isinstance(value, torch.Tensor) and value.device.type != device.type
        return {ON_CPU: value} if is_elsewhere else value

    return tree_map(mark, state)


def get_state(part: Any) -> Any:
    """The state_dict of an object, of each in a dict of objects, or None for none."""
    if isinstance(part, dict):
        return {name: get_state(one) for name, one in part.items()}
    return None if part is None else part.state_dict()


def with_state(criterion: Any) -> dict[str, Any]:
    """The losses that may have parameters or buffers, such as the weights of classes, by name."""
    return {k: loss for k, loss in by_name(criterion).items() if isinstance(loss, nn.Module)}


def shared_parts(trainer: Any) -> dict[str, Any]:
    """What is the same in all processes and has a state, by its key in a checkpoint."""
    model = distributed.unwrap(trainer.model)
    parts = {"optimizer": trainer.optimizer, "lr_scheduler": trainer.lr_scheduler}
    return {"state_dict": model, **parts, **trainer.state}


def collect(trainer: Any, epochs_done: int) -> State:
    """The state of a trainer, as tensors and plain types; the same in all processes."""
    own = pack(get_state(trainer.rank_state), trainer.device)
    own |= {"random": get_random_state(), "criterion": get_state(with_state(trainer.criterion))}
    ranks = distributed.all_gather(own)
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
