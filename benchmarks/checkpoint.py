"""What saving a checkpoint costs: 576 MB of weights and Adam's state, saved by the project's code.

python benchmarks/checkpoint.py           7 repetitions, files in the temporary directory
python benchmarks/checkpoint.py 15 PATH   15 repetitions, files below PATH
python benchmarks/checkpoint.py 15 PATH 1 the same with a sixth of the weights

The kinds take turns, into new files, with nothing else left to write to the disk; the first turn is
dropped. Blocked is how long training waits, with the save before it complete and its buffers made:
until `BackgroundSaver.save` returns. It is to be a fifth of `torch.save` in the same turn. A step
is 20 products of matrices. Memory is the highest resident size (Linux only), with the state made
and saved twice. Other programs on the same cores distort all but the memory.
"""

import os
import sys
from pathlib import Path
from statistics import median
from subprocess import check_call
from tempfile import TemporaryDirectory
from threading import Event
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "{{cookiecutter.project_name}}"))
from tools.background import BackgroundSaver  # noqa: E402
from utils import checkpoint  # noqa: E402

WIDTH, LAYERS = 768, 6  # a small transformer; its embedding brings it to 48 million parameters
PIECES = {"attention": (3 * WIDTH, WIDTH), "out": (WIDTH, WIDTH), "mlp": (4 * WIDTH, WIDTH)}
PIECES |= {"mlp_out": (WIDTH, 4 * WIDTH), "norm": (WIDTH,), "norm_bias": (WIDTH,), "scale": ()}
STEP = torch.matrix_power, torch.eye(128), 2**20  # 20 products
PLAIN = {"torch.save": torch.save, "checkpoint.save": checkpoint.save}


def make_state(layers):
    sizes = {
        f"{layer}.{name}": size for layer in range(int(layers)) for name, size in PIECES.items()
    }
    rest = 8_000_000 * int(layers) - sum(torch.Size(size).numel() for size in sizes.values())
    weights = {name: torch.randn(size) for name, size in {"embedding": (rest,), **sizes}.items()}
    adam = {i: {"exp_avg": one + 0, "exp_avg_sq": one**2} for i, one in enumerate(weights.values())}
    return {"state_dict": weights, "optimizer": {"state": adam, "param_groups": [{"lr": 1e-3}]}}


def seconds(call, *args):
    start = perf_counter()
    call(*args)
    return perf_counter() - start


def once(kind, path, layers):
    """Save twice in a process of its own; print the peaks before and after, and the first time."""
    state, saver = make_state(layers), BackgroundSaver()
    peaks, times = [], []
    for _ in range(3):
        status = Path("/proc/self/status").read_text()
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6)
        times.append(seconds(PLAIN.get(kind, saver.save), state, Path(path)))
        saver.wait()
    more = peaks[2] - peaks[0]
    print(f"{kind:<34}{peaks[0]:8.0f}{peaks[2]:8.0f}{more:8.0f}{times[0]:11.3f}")


def turn(state, saver, folder):
    """One measurement of everything: seconds and ratios by name."""
    found, is_done, steps = {}, Event(), []
    for path in folder.iterdir():
        path.unlink()
    for name, save in {**PLAIN, "blocked": saver.save}.items():
        os.sync()
        found[name] = seconds(save, state, folder / f"{name}.pth")
    saver.wait()
    found["blocked / torch.save"] = found["blocked"] / found["torch.save"]
    os.sync()
    saver.save(state, folder / "last.pth", then=is_done.set)
    while not is_done.is_set():
        steps.append(seconds(*STEP))
    found["step, while saving / alone"] = sum(steps) / sum(seconds(*STEP) for _ in steps)
    return found


def main(repetitions=7, folder=None, layers=LAYERS):
    default, saver = torch.get_num_threads(), BackgroundSaver()
    with TemporaryDirectory(dir=folder) as folder:
        print("Fresh processes, MB and seconds:  before   after    more first call", flush=True)
        for kind in (*PLAIN, "BackgroundSaver"):
            check_call([sys.executable, __file__, "once", kind, f"{folder}/once.pth", str(layers)])
        state = make_state(layers)
        for threads in sorted({1, default}):
            torch.set_num_threads(threads)
            turns = [turn(state, saver, Path(folder)) for _ in range(int(repetitions) + 1)][1:]
            title = f"Torch threads: {threads}{' (the default)' * (threads == default)}"
            print(f"{title:<34}  median   least    most")
            for name in turns[0]:
                values = [one[name] for one in turns]
                print(f"{name:<34}" + "".join(f"{f(values):8.3f}" for f in (median, min, max)))


if __name__ == "__main__":
    once(*sys.argv[2:]) if sys.argv[1:2] == ["once"] else main(*sys.argv[1:])
