import copy
import os
import pickle
import shutil
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import torch

from utils import distributed
from utils.errors import RunError, UserError
from utils.files import atomic_write
from utils.old import checkpoint as old_checkpoint
from utils.optional import need_tool

EPOCH_NAME = "checkpoint-epoch{}.pth"
BEST_NAME = "model_best.pth"
LAST_NAME = "last.pth"
ASIDE = ".replaced.pth"  # the end of the name, where a folder takes one, or gives one away
NO_ARCHIVE = "not a checkpoint, or a damaged one"


def save(state, path, *more_paths):
    """Write `state` under one name or several, each in one step: no half file ever has the name.

    Raises TypeError where the state holds more than tensors and plain types, since it could then
    not be read with `weights_only=True`, and RunError where it cannot be written.
    """
    state = to_plain(state)
    folders = [one for one in (path, *more_paths) if Path(one).is_dir()]
    try:
        with atomic_write(path, "wb") as file:
            torch.save(state, file)
            for folder in folders:  # of a run that was sharded before
                set_aside(folder)
        for other in more_paths:
            _link(path, other)
        for folder in folders:
            remove(folder.with_suffix(ASIDE))
    except (OSError, RuntimeError) as error:
        if not isinstance(error, OSError):  # torch closes its archive in vain, and raises again
            error = error.__context__ or error
        reason = getattr(error, "strerror", error)
        raise RunError(f"{path}: cannot be written: {reason}; the others are intact") from None


def remove(path):
    if path.is_dir():  # of which a kill must not leave a part under this name
        path = path.rename(path.with_name(f".{path.name}.gone.tmp"))
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def set_aside(path):
    """Make way for a new checkpoint; `load` and `newest` find the old one nevertheless."""
    remove(path.with_suffix(ASIDE))
    path.rename(path.with_suffix(ASIDE))


def _link(path, other):
    """Give a file a second name, or make a copy where the file system has no links."""
    temporary = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
        os.replace(temporary, other)
    except OSError:
        with atomic_write(other, "wb") as file, open(path, "rb") as original:
            shutil.copyfileobj(original, file)


class Saver:
    """Saves while training waits; see tools/background.py."""

    def save(self, state, *paths, then=None):
        save(state, *paths)
        if then is not None:
            then()

    def wait(self):
        """Until the last save is complete; raises what went wrong with it."""


def load(path, model=None, optimizer=None):
    """The state in a checkpoint, on the CPU. Runs no code from the file; UserError if it is bad.

    Where `model` is sharded, the state has only those parts of the weights, and of the state of
    `optimizer`, that belong to this process.
    """
    path = _present(path)
    if path.is_dir():
        return need_tool("sharded", path).load(path, model, optimizer)
    fault = damage(path)
    if fault and fault != NO_ARCHIVE:  # older versions of torch did not write one
        raise UserError(f"{path}: {fault}")
    is_mapped = distributed.size() > 1 and not fault and os.name == "posix"  # once for all of them
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError:
        state = _load_inert(path)
    except Exception:  # what torch raises for a damaged file depends on where the damage is
        raise UserError(f"{path}: {NO_ARCHIVE}") from None
    if isinstance(state, dict):
        state = old_checkpoint.complete(state)
    if not isinstance(state, dict) or "state_dict" not in state:
        raise UserError(f"{path}: holds no weights under 'state_dict' or 'model_state_dict'")
    return distributed.own_parts(state, model, optimizer)


def load_config(path):
    """The config in a checkpoint, an empty one where it has none; of a folder, nothing else."""
    path = _present(path)
    if path.is_dir():
        return need_tool("sharded", path).load_plain(path)["config"]
    return load(path).get("config") or {}


def _present(path):
    """A checkpoint where it is: aside, if the process that made way for a new one was killed."""
    if (last := Path(path) / LAST_NAME).exists():
        raise UserError(f"{path}: is the folder of a run: name a checkpoint in it, such as {last}")
    if Path(path).exists():
        return Path(path)
    aside = Path(path).with_suffix(ASIDE)
    return aside if aside.exists() else Path(path)


def _load_inert(path):
    try:
        return to_plain(old_checkpoint.read(path))
    except TypeError:
        raise UserError(f"{path}: refused, holds more than tensors and plain types") from None
    except Exception:
        raise UserError(f"{path}: {NO_ARCHIVE}") from None


def damage(path):
    """What is wrong with a file by the sums of its own zip directory; None where all is well."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "damaged" if archive.testzip() else None
    except zipfile.BadZipFile:
        return NO_ARCHIVE
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def to_plain(value, path="checkpoint"):
    """`value` with NumPy numbers made plain; TypeError names the first thing that cannot be."""
    if type(value) in (dict, OrderedDict, Counter):
        plain = copy.copy(value)  # keeps the `_metadata` that a state_dict carries as an attribute
        plain |= {key: to_plain(one, f"{path}.{key}") for key, one in value.items()}
        return plain
    if type(value) in (list, tuple):
        return type(value)(to_plain(one, f"{path}[{i}]") for i, one in enumerate(value))
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (torch.Tensor, str, bytes, bool, int, float)):
        return value
    raise TypeError(f"{path} is a {type(value).__name__}: keep tensors and plain types only")


def set_weights(model, state_dict, path):
    """Load weights; UserError names the first few that do not fit."""
    try:
        model.load_state_dict(without_prefixes(state_dict))
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(f"{path}: does not fit {type(model).__name__}: {faults}") from None


def weights_to_use(state):
    """The weights that a model is used with: their moving average, where the run has kept one."""
    if not state["ema"]:
        return state["state_dict"]
    return without_prefixes({k: w for k, w in state["ema"].items() if k != "n_averaged"})


def without_prefixes(state_dict):
    """Names as the bare model has them: torch.compile and DataParallel put words before them."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if state_dict and all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def get_state(part):
    """The state of a part of the trainer, of each in a dict of parts, or None for none."""
    if isinstance(part, dict):
        return {name: get_state(one) for name, one in part.items()}
    return None if part is None else part.state_dict()


def set_state(part, state):
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


def remove_old(directory, keep_last):
    """Delete all but the newest `keep_last` checkpoints of epochs; None keeps all."""
    files = sorted(directory.glob(EPOCH_NAME.format("*")), key=lambda file: file.stat().st_mtime_ns)
    for file in files[: -keep_last if keep_last else 0]:
        remove(file)
