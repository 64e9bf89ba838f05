"""Checkpoints of other code, and of older versions of this project.

`--convert` makes a checkpoint of one that has pickled objects of other code in it: victoresque's
template, for example, keeps its ConfigParser in each. No code from such a file is run.

python -m tools.convert FILE    the same, where train.py is an old project's
"""

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from tools import for_one_process
from utils import checkpoint, resume
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError
from utils.files import find_file
from utils.meter import name_of

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
NAMES_OF_WEIGHTS = ("model", "model_state", "net", "weights")  # in checkpoints of other code
# What the ConfigParser called its dict: of 2020, of 2019, of this project
CONFIGS = ("_config", "_ConfigParser__config", "config")


class OldCheckpoints(Callback):
    """Lets a run go on from a checkpoint of an older version of this project."""

    def on_checkpoint_load(self, trainer: BaseTrainer, state: dict[str, Any]) -> None:
        for rank in (state, *state["ranks"]):
            if place := state.get("place"):
                seed = (state["config"] or {}).get("seed", 0)
                rank["data_loader"] = {"seed": seed, "epoch": place[0], "samples": place[1]}
            metrics = rank.get("train_metrics") or {}
            if isinstance(collected := metrics.get("collected"), list):
                names = map(name_of, trainer.rank_state["train_metrics"].collectors)
                metrics["collected"] = dict(zip(names, collected, strict=False))
        if "place" in state:
            state["finite"] = {"n_skipped": state.get("n_skipped", 0)}


def run(_: ConfigParser | None, value: str) -> None:
    """Write <stem>_converted.pth beside the file. Raises UserError where it cannot be made."""
    for_one_process("--convert")
    path = find_file(value)
    target = path.with_name(f"{path.stem}_converted.pth")
    if target.exists():
        raise UserError(f"{target}: is there already")
    state = complete(read_inert(path), path)
    checkpoint.save(state, target)
    config = "" if state["config"] else " -c CONFIG"
    print(f"{target}: to go on with it: python train.py{config} -r {target}")


def complete(state: Any, path: Path) -> checkpoint.State:
    """A state of any code, with the keys that this project expects, and names of its own weights.

    It may be no more than the `state_dict` of a model. Raises UserError where it has no weights.
    """
    if isinstance(state, Mapping) and all(isinstance(v, torch.Tensor) for v in state.values()):
        state = {"state_dict": state}
    if isinstance(state, dict) and not {"state_dict", "model_state_dict"} & state.keys():
        found = [x for x in NAMES_OF_WEIGHTS if isinstance(state.get(x), Mapping) and state[x]]
        state = state | {"state_dict": state[found[0]]} if found else state
    state = resume.complete(state, path)
    return state | {"state_dict": without_prefixes(state["state_dict"])}


def without_prefixes(state_dict: checkpoint.State) -> checkpoint.State:
    """Names as the bare model has them: torch.compile and DataParallel put words before them."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if state_dict and all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


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
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise UserError(f"{path}: damaged")
    except zipfile.BadZipFile:
        pass  # older versions of torch did not write one
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    loader: Any = ModuleType("inert_pickle")  # what torch.load wants to be given
    loader.Unpickler = Unpickler
    loader.load = lambda file, **kwargs: Unpickler(file, **kwargs).load()
    try:
        state = torch.load(path, map_location="cpu", pickle_module=loader, weights_only=False)
    except Exception as error:  # what torch raises for a damaged file depends on the damage
        reason = f"damaged, or not a checkpoint of torch ({type(error).__name__})"
        raise UserError(f"{path}: {reason}") from None
    if not isinstance(state, dict):
        return {}
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


if __name__ == "__main__":
    with exit_on_user_error():
        parser = CommandLine(__doc__)
        parser.add_argument("file", metavar="FILE")
        run(None, parser.parse_args().file)
