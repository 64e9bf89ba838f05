"""Checkpoints: files of tensors and plain types, written in one step, read without running code."""

import copy
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from utils import distributed
from utils.errors import RunError, UserError
from utils.files import atomic_write
from utils.run_dir import EPOCH_NAME, LAST_NAME, is_run

State = dict[str, Any]
PLAIN_NAME = "state.pt"  # where a checkpoint is a folder: the file with all but sharded tensors
NO_ARCHIVE = "not a checkpoint, or a damaged one"
OLDER_FORMAT = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # the number that it begins with
# What a state has where the file of an older version, or of other code, has nothing
DEFAULTS: State = {
    "epoch": 0,
    "step": 0,
    "batch_idx": 0,
    "not_improved_count": 0,
    "optimizer": None,
    "lr_scheduler": None,
    "monitor_best": None,
    "train_metrics": None,
    "ema": None,
    "scaler": None,
    "finite": None,
    "ranks": [],
    "data_loader": None,
    "random": None,
    "config": None,
}
OTHER_NAMES = {"model_state_dict": "state_dict", "optimizer_state_dict": "optimizer"}
NAMES_OF_WEIGHTS = ("model", "model_state", "net", "weights")  # in checkpoints of other code


def save(state: State, path: Path, *more_paths: Path) -> None:
    """Write `state` under one name or several, each in one step: no half file ever has the name.

    Raises TypeError where the state holds more than tensors and plain types, since it could then
    not be read with `weights_only=True`, and RunError where it cannot be written.
    """
    state = to_plain(state)
    try:
        with atomic_write(path, "wb") as file:
            torch.save(state, file)
        for other in more_paths:
            _link(path, other)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__ or error
        reason = getattr(cause, "strerror", cause)  # torch closes its archive in vain, raises again
        raise RunError(f"{path}: cannot be written: {reason}; the others are intact") from None


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, or make a copy where the file system has no links."""
    temporary = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
        os.replace(temporary, other)
    except OSError:
        with atomic_write(other, "wb") as file, open(path, "rb") as original:
            shutil.copyfileobj(original, file)


def load(path: str | Path) -> State:
    """The state in a checkpoint, on the CPU. Runs no code from the file; UserError if it is bad."""
    path = Path(path)
    if path.is_dir() and not (path / PLAIN_NAME).exists():
        found = max([*path.rglob(LAST_NAME)] or path.rglob("*.pth"), default=None)
        what = "there is none in it" if found is None else f"such as {found}"
        raise UserError(f"{path}: is a folder: name a checkpoint, {what}")
    if path.is_dir():
        raise UserError(f"{path}: is sharded; python train.py --unshard {path} makes a file of it")
    fault = damage(path)
    if fault and fault != NO_ARCHIVE:  # older versions of torch did not write one
        raise UserError(f"{path}: {fault}")
    is_mapped = distributed.world_size() > 1 and not fault and os.name == "posix"  # once for all
    try:
        with warnings.catch_warnings():  # of torch, about formats
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError:
        if fault and not _is_older_format(path):
            raise UserError(f"{path}: {NO_ARCHIVE}") from None
        how = f"python train.py --convert {path} makes a checkpoint of it"
        raise UserError(f"{path}: holds more than tensors and plain types; {how}") from None
    except Exception as error:  # what torch raises for a damaged file depends on the damage
        raise UserError(f"{path}: {NO_ARCHIVE} ({type(error).__name__})") from None
    return complete(state, path)


def _is_older_format(path: Path) -> bool:
    """Whether a file begins as those of torch did until version 1.6."""
    with open(path, "rb") as file:
        return OLDER_FORMAT in file.read(64)


def complete(state: Any, path: Path) -> State:
    """A state of other code, or of an older version, with the keys that this project expects.

    It may be no more than the `state_dict` of a model. Raises UserError where it has no weights.
    """
    if isinstance(state, Mapping) and all(isinstance(v, torch.Tensor) for v in state.values()):
        state = {"state_dict": state}
    if isinstance(state, dict):
        state = {OTHER_NAMES.get(key, key): value for key, value in state.items()}
        found = [x for x in NAMES_OF_WEIGHTS if isinstance(state.get(x), Mapping) and state[x]]
        if found and "state_dict" not in state:
            state["state_dict"] = state.pop(found[0])
        state = state | DEFAULTS | state  # in the order of the file
    if not isinstance(state, dict) or not state.get("state_dict"):
        raise UserError(f"{path}: holds no weights under 'state_dict' or 'model_state_dict'")
    if place := state.pop("place", None):  # as older versions of this project have it
        seed = (state["config"] or {}).get("seed", 0)
        state["data_loader"] = {"seed": seed, "epoch": place[0], "samples": place[1]}
        state["finite"] = {"n_skipped": state.pop("n_skipped", 0)}
    return state


def load_config(path: Path) -> State:
    """The config in a checkpoint, an empty one where it has none."""
    if (plain := path / PLAIN_NAME).exists():
        return torch.load(plain, map_location="cpu", weights_only=True)["config"]
    return load(path)["config"] or {}


def peek(path: Path) -> State:
    """What stands in a checkpoint, of whose tensors nothing is read; {} where it cannot be read."""
    plain = path / PLAIN_NAME if path.is_dir() else path
    with suppress(Exception):  # what torch raises for a damaged file depends on the damage
        return dict(torch.load(plain, map_location="cpu", weights_only=True, mmap=True))
    return {}


def number_of(path: Path) -> int | None:
    """N of checkpoint-epoch<N>.pth; None of another file."""
    found = re.fullmatch(re.escape(EPOCH_NAME).replace(r"\{\}", r"(\d+)"), path.name)
    return None if found is None else int(found[1])


def damage(path: Path) -> str | None:
    """What is wrong with a file by the sums of its own zip directory; None where all is well."""
    if path.is_dir():  # of FSDP, in which `.metadata` is written last
        return None if (path / ".metadata").exists() else "is not complete"
    try:
        with zipfile.ZipFile(path) as archive:
            return "damaged" if archive.testzip() else None
    except zipfile.BadZipFile:
        return NO_ARCHIVE
    except OSError as error:
        return f"cannot be read: {error.strerror}"


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
        is_sharded = hasattr(value, "full_tensor")  # then all processes save together
        return value if is_sharded else value.detach().as_subclass(torch.Tensor)
    raise TypeError(f"{path} is a {type(value).__name__}: keep tensors and plain types only")


def set_weights(model: nn.Module, state_dict: State, path: Any) -> None:
    """Load weights. Raises UserError that names the first few which do not fit."""
    try:
        model.load_state_dict(without_prefixes(state_dict))
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(f"{path}: does not fit {type(model).__name__}: {faults}") from None


def weights_to_use(state: State) -> State:
    """The weights that a model is used with: their moving average, where the run has kept one."""
    if not state["ema"]:
        return state["state_dict"]
    return without_prefixes({k: w for k, w in state["ema"].items() if k != "n_averaged"})


def without_prefixes(state_dict: State) -> State:
    """Names as the bare model has them: torch.compile and DataParallel put words before them."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if state_dict and all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def get_state(part: Any) -> Any:
    """The state_dict of an object, of each in a dict of objects, or None for none."""
    if isinstance(part, dict):
        return {name: get_state(one) for name, one in part.items()}
    return None if part is None else part.state_dict()


def set_state(part: Any, state: Any) -> None:
    """The counterpart of get_state. What a new scheduler put into an optimizer's groups stays."""
    if part is None or state is None:
        return
    if isinstance(part, dict):
        for name, one in part.items():
            set_state(one, state[name])
        return
    before = [dict(group) for group in getattr(part, "param_groups", [])]
    part.load_state_dict(state)
    for group, old in zip(getattr(part, "param_groups", []), before, strict=True):
        group |= {key: value for key, value in old.items() if key not in group}


def remove_old(directory: Path, keep_last: int | None, epochs_done: int) -> None:
    """Delete all but the newest `keep_last` checkpoints of epochs in a run; None keeps all.

    Those of more than `epochs_done` are the oldest: the run has gone on from one before them.
    """
    if keep_last is None or not is_run(directory):
        return
    numbers = {file: number_of(file) for file in directory.iterdir()}
    found = [(n <= epochs_done, n, file) for file, n in numbers.items() if n is not None]
    for _, _, file in sorted(found)[:-keep_last]:
        remove(file)


def remove(path: Path) -> None:
    """Delete a checkpoint, which may be a link to a folder."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
