"""Checkpoints that other code has written: victoresque's template, or PyTorch's tutorials.

Only projects with such files need this; `checkpoint.load` asks it about what is not its own.
"""

import pickle
from types import ModuleType

import numpy as np
import torch

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


class Inert:
    """Stands for an object whose class is not to be run: its attributes without its behaviour."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)


class Unpickler(pickle.Unpickler):
    """Makes tensors and plain types; every other class, whatever its name, comes out inert."""

    def find_class(self, module, name):
        is_storage = module == "torch" and name.endswith("Storage")
        if is_storage or (module, name) in SAFE:
            return super().find_class(module, name)
        if name == "scalar" and module.startswith("numpy."):  # moved with NumPy 2
            return np.float64(0).__reduce__()[0]
        return type(name, (Inert,), {})


def read(path):
    """The state in a file that pickles more than plain types, made without running code from it."""
    loader = ModuleType("inert_pickle")  # what torch.load wants to be given
    loader.Unpickler = Unpickler
    loader.load = lambda file, **kwargs: Unpickler(file, **kwargs).load()
    state = torch.load(path, map_location="cpu", pickle_module=loader, weights_only=False)
    if isinstance(state, dict):
        if isinstance(state.get("logger"), Inert):  # of 2018: the history of the run
            del state["logger"]
        if isinstance(state.get("config"), Inert):
            inside = vars(state["config"])
            state["config"] = next((inside[name] for name in CONFIGS if name in inside), None)
    return state


NAMES = {"model_state_dict": "state_dict", "optimizer_state_dict": "optimizer"}
DEFAULTS = {
    "epoch": 0,
    "step": 0,
    "batch_idx": 0,
    "n_skipped": 0,
    "not_improved_count": 0,
    "optimizer": None,
    "lr_scheduler": None,
    "monitor_best": None,
    "train_metrics": None,
    "ema": None,
    "scaler": None,
    "ranks": [],
    "place": None,
    "random": None,
}


def complete(state):
    """A state of other code with the names of this project, and None for what it does not have.

    It may be no more than the `state_dict` of a model.
    """
    if state and all(isinstance(value, torch.Tensor) for value in state.values()):
        state = {"state_dict": state}
    return DEFAULTS | {NAMES.get(key, key): value for key, value in state.items()}
