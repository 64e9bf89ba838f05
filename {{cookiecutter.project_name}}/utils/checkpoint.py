import copy
import pickle
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import torch

from utils.errors import UserError
from utils.files import atomic_write

EPOCH_NAME = "checkpoint-epoch{}.pth"
BEST_NAME = "model_best.pth"


def save(state, path):
    """Write `state` to `path` in one step: whatever happens meanwhile, no half file has that name.

    Raises TypeError where the state holds more than tensors and plain types, since it could then
    not be read with `weights_only=True`.
    """
    with atomic_write(path, "wb") as file:
        torch.save(to_plain(state), file)


def load(path):
    """The state in a checkpoint, on the CPU. Runs no code from the file; UserError if it is bad."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except pickle.UnpicklingError:
        raise UserError(f"{path}: refused, holds more than tensors and plain types") from None
    except Exception:  # what torch raises for a damaged file depends on where the damage is
        raise UserError(f"{path}: not a checkpoint, or a damaged one") from None
    if not isinstance(state, dict) or "state_dict" not in state:
        raise UserError(f"{path}: not a checkpoint of this project: it has no 'state_dict'")
    return state


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
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(f"{path}: does not fit {type(model).__name__}: {faults}") from None


def get_state(part):
    """The state of a part of the trainer, of each in a dict of parts, or None for none."""
    if isinstance(part, dict):
        return {name: get_state(one) for name, one in part.items()}
    return None if part is None else part.state_dict()


def set_state(part, state):
    if isinstance(part, dict):
        for name, one in part.items():
            set_state(one, state[name])
    elif part is not None:
        part.load_state_dict(state)


def remove_old(directory, keep_last):
    """Delete all but the newest `keep_last` periodic checkpoints; None keeps all."""
    if keep_last is None:
        return
    files = Path(directory).glob(EPOCH_NAME.format("*"))
    by_epoch = sorted(files, key=lambda file: int(file.stem.removeprefix("checkpoint-epoch")))
    for file in by_epoch[:-keep_last]:
        file.unlink()
