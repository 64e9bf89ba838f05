"""What saving a checkpoint costs: 576 MB of weights and Adam's state, with the project's own code.

python benchmarks/checkpoint.py           7 repetitions, files in the temporary directory
python benchmarks/checkpoint.py 15 PATH   15 repetitions, files below PATH

The kinds take turns in one process; the first turn of each is a warm-up and is dropped. Blocked is
the time until `BackgroundSaver.save` returns; its target is a tenth of `torch.save` in that turn.
A step is matrix products, either few and large or many and small. Memory is the highest resident
size of a fresh process, with the state made and then with the state saved twice.
"""

import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from subprocess import check_output
from threading import Event
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "{{cookiecutter.project_name}}"))
from utils import checkpoint  # noqa: E402

WIDTH, LAYERS = 768, 6  # the sizes of a small transformer: 48 million float32 parameters
PIECES = {"attention": (3 * WIDTH, WIDTH), "out": (WIDTH, WIDTH), "mlp": (4 * WIDTH, WIDTH)}
PIECES |= {"mlp_out": (WIDTH, 4 * WIDTH), "norm": (WIDTH,), "norm_bias": (WIDTH,), "bias": (1,)}


def make_state():
    sizes = {f"{layer}.{name}": size for layer in range(LAYERS) for name, size in PIECES.items()}
    missing = 48_000_000 - sum(torch.Size(size).numel() for size in sizes.values())
    weights = {"embedding": torch.randn(missing)}
    weights |= {name: torch.randn(size) for name, size in sizes.items()}
    adam = {
        number: {"step": torch.tensor(9.0), "exp_avg": one + 0, "exp_avg_sq": one * one}
        for number, one in enumerate(weights.values())
    }
    groups = [{"lr": 1e-3, "params": list(adam)}]
    return {"state_dict": weights, "optimizer": {"state": adam, "param_groups": groups}}


def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def seconds(call, *args, **kwargs):
    start = perf_counter()
    call(*args, **kwargs)
    return perf_counter() - start


def save(kind, state, path, saver):
    if kind == "torch.save":
        torch.save(state, path)
    elif kind == "checkpoint.save":
        checkpoint.save(state, path)
    else:
        saver.save(state, path)
        saver.wait()
