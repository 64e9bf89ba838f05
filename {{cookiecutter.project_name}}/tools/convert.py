"""Make a checkpoint of this project from one that other code has pickled objects of its own into.

victoresque's template, for example, keeps its ConfigParser in each checkpoint. No code from such a
file is run.
"""

import logging
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from parse_config import ConfigParser, find_file
from utils import checkpoint, extras
from utils.errors import UserError

FLAG = {"metavar": "FILE", "help": "make a usable checkpoint of one with pickled objects in it"}
SAFE = {
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
}
# What the ConfigParser called its dict: of 2020, of 2019, of this project
CONFIGS = ("_config", "_ConfigParser__config", "config")


def run(_: ConfigParser, value: str) -> None:
    """Write <stem>_converted.pth beside the file. Raises UserError where it cannot be made."""
    extras.for_one_process("--convert")
    path = find_file(value)
    target = path.with_name(f"{path.stem}_converted.pth")
    if target.exists():
        raise UserError(f"{target}: is there already")
    state = checkpoint.complete(read_inert(path), path)
    checkpoint.save(state, target)
    config = "" if state["config"] else " -c CONFIG"
    print(f"{target}: to go on with it: python train.py{config} -r {target}")


class Inert:
    """Stands for an object whose class is not to be run: its attributes without its behaviour."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class Unpickler(pickle.Unpickler):
    """Makes tensors and plain types; every other class, whatever its name, comes out inert."""

    def find_class(self, module: str, name: str) -> Any:
        is_storage = module == "torch" and name.endswith("Storage")
        if is_storage or (module, name) in SAFE:
            return super().find_class(module, name)
        if name == "scalar" and module.startswith("numpy."):  # moved with NumPy 2
            return np.float64(0).__reduce__()[0]
        return type(name, (Inert,), {})


def read_inert(path: Path) -> Any:
    """The state in a checkpoint, made without running code from it.

    The config of a pickled ConfigParser is kept. What else is not made of tensors and plain types
    is left out, with a warning. Raises UserError where the file is damaged.
    """
    fault = "is a folder" if path.is_dir() else checkpoint.damage(path)
    if fault and fault != checkpoint.NO_ARCHIVE:  # older versions of torch did not write one
        raise UserError(f"{path}: {fault}")
    loader: Any = ModuleType("inert_pickle")  # what torch.load wants to be given
    loader.Unpickler = Unpickler
    loader.load = lambda file, **kwargs: Unpickler(file, **kwargs).load()
    try:
        state = torch.load(path, map_location="cpu", pickle_module=loader, weights_only=False)
    except Exception as error:  # what torch raises for a damaged file depends on the damage
        reason = f"{checkpoint.NO_ARCHIVE} ({type(error).__name__})"
        raise UserError(f"{path}: {reason}") from None
    if not isinstance(state, dict):
        return state
    if isinstance(state.get("config"), Inert):
        inside = vars(state["config"])
        state["config"] = next((inside[name] for name in CONFIGS if name in inside), None)
    return {key: value for key, value in state.items() if is_plain(key, value, path)}


def is_plain(key: str, value: Any, path: Path) -> bool:
    """Whether a checkpoint can hold a value; a warning where it cannot."""
    try:
        checkpoint.to_plain(value, key)
    except TypeError as error:
        found = str(error).partition(":")[0]
        logging.getLogger("convert").warning("%s: %s, so %r is left out", path, found, key)
        return False
    return True
