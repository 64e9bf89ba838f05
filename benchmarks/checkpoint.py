"""What saving a checkpoint costs: 576 MB of weights and Adam's state, saved by the project's code.

python benchmarks/checkpoint.py           7 repetitions, files in the temporary directory
python benchmarks/checkpoint.py 15 PATH   15 repetitions, files below PATH

The kinds take turns in one process, each into a new file with nothing else left to write to the
disk; the first turn is dropped. Blocked is the time until `BackgroundSaver.save` returns, with the
save before it complete; a ratio compares two times of the same turn, and its target is 0.1. A step
is 20 matrix products, timed while a save runs and then as often alone. Memory is the highest
resident size of a fresh process (Linux only), with the state made and with the state saved twice.
Other programs on the same cores make all of it longer.
"""

import os
import sys
from pathlib import Path
from statistics import median
from subprocess import check_output
from tempfile import TemporaryDirectory
from threading import Event
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "{{cookiecutter.project_name}}"))
from utils import checkpoint  # noqa: E402

WIDTH, LAYERS = 768, 6  # a small transformer; its embedding brings it to 48 million parameters
PIECES = {"attention": (3 * WIDTH, WIDTH), "out": (WIDTH, WIDTH), "mlp": (4 * WIDTH, WIDTH)}
PIECES |= {"mlp_out": (WIDTH, 4 * WIDTH), "norm": (WIDTH,), "norm_bias": (WIDTH,), "scale": ()}
MATRIX = torch.randn(128, 128)
PLAIN = {"torch.save": torch.save, "checkpoint.save": checkpoint.save}


def make_state():
    sizes = {f"{layer}.{name}": size for layer in range(LAYERS) for name, size in PIECES.items()}
    rest = 48_000_000 - sum(torch.Size(size).numel() for size in sizes.values())
    weights = {name: torch.randn(size) for name, size in {"embedding": (rest,), **sizes}.items()}
    adam = {i: {"exp_avg": one + 0, "exp_avg_sq": one**2} for i, one in enumerate(weights.values())}
    return {"state_dict": weights, "optimizer": {"state": adam, "param_groups": [{"lr": 1e-3}]}}


def memory(kind, path):
    """Print the peak in MB before two saves and after them, in a process of its own."""
    state, saver = make_state(), checkpoint.BackgroundSaver()
    for number in (0, 2):
        for _ in range(number):
            PLAIN.get(kind, saver.save)(state, Path(path))
            saver.wait()
        peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
        print(int(peak) * 1024 / 1e6)


def step():
    for _ in range(20):
        MATRIX @ MATRIX


def seconds(call, *args, **kwargs):
    start = perf_counter()
    call(*args, **kwargs)
    return perf_counter() - start


def turn(state, folder):
    """One measurement of everything: seconds and ratios by name."""
    found, saver, is_done = {}, checkpoint.BackgroundSaver(), Event()
    kinds = {**PLAIN, "blocked, first call": saver.save, "blocked, later": saver.save}
    for number, (name, save) in enumerate(kinds.items()):
        os.sync()
        found[name] = seconds(save, state, folder / f"{number}.pth")
        rest = seconds(saver.wait)
    found["until complete"] = found["blocked, later"] + rest
    for name in ("blocked, first call", "blocked, later"):
        found[f"{name} / torch.save"] = found[name] / found["torch.save"]
    os.sync()
    saver.save(state, folder / "last.pth", then=is_done.set)
    steps = []
    while not is_done.is_set():
        steps.append(seconds(step))
    saver.wait()
    found["step, while saving / alone"] = sum(steps) / sum(seconds(step) for _ in steps)
    for path in folder.iterdir():
        path.unlink()
    return found


def main(repetitions=7, folder=None):
    default = torch.get_num_threads()
    with TemporaryDirectory(dir=folder) as folder:
        print("Peak memory in MB: state made, saved twice, more")
        for kind in (*PLAIN, "BackgroundSaver"):
            command = [sys.executable, __file__, "memory", kind, f"{folder}/memory.pth"]
            before, after = map(float, check_output(command, text=True).split())
            print(f"  {kind:<45}{before:8.0f}{after:8.0f}{after - before:8.0f}")
        state = make_state()
        for threads in sorted({1, default}):
            torch.set_num_threads(threads)
            turns = [turn(state, Path(folder)) for _ in range(int(repetitions) + 1)][1:]
            title = f"Torch threads: {threads}{' (the default)' * (threads == default)}; seconds"
            print(f"{title:<47}  median   least    most")
            for name in turns[0]:
                values = [one[name] for one in turns]
                print(f"  {name:<45}" + "".join(f"{f(values):8.3f}" for f in (median, min, max)))


if __name__ == "__main__":
    memory(*sys.argv[2:]) if sys.argv[1:2] == ["memory"] else main(*sys.argv[1:])
