"""What it costs to begin, and to go on, with many samples: seconds and megabytes, by their number.

python benchmarks/data.py                        1e3, 1e6 and 1e9 samples; a minute
python benchmarks/data.py --samples 1000         as many
python benchmarks/data.py --most 1e8             what lists its indices is left out beyond it

Each measurement has a process of its own. A sample is its index; a batch has 64 of them, shuffled.
The stock DataLoader, and torchdata's StatefulDataLoader where it is installed, list the order of an
epoch; the stock one has no state, so what it skips is made. Memory is the peak beyond imports.
"""

import argparse
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

PROJECT = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_name}}"
KINDS = {
    "stock": "stock DataLoader",
    "stateful": "torchdata's StatefulDataLoader",
    "ours": "this template",
}
BATCH, MOST_SKIPPED = 64, 10_000_000  # samples that are made to go on: more take minutes


class Numbers:
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index


def peak():
    """Megabytes that this process has had at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def loader_of(kind, n):
    if kind == "ours":
        from base import BaseDataLoader

        return BaseDataLoader(Numbers(n), BATCH, True, 0, 0)
    if kind == "stateful":
        from torchdata.stateful_dataloader import StatefulDataLoader

        return StatefulDataLoader(Numbers(n), BATCH, shuffle=True)
    from torch.utils.data import DataLoader

    return DataLoader(Numbers(n), BATCH, shuffle=True)


def first_batch(kind, n):
    loader_of(kind, 10)  # what it imports
    before, start = peak(), perf_counter()
    next(iter(loader_of(kind, n)))
    return {"first": perf_counter() - start, "memory": peak() - before}


def middle(kind, n):
    """Seconds to the first batch after half of an epoch."""
    loader, half = loader_of(kind, n), n // BATCH // 2 * BATCH
    if kind == "ours":
        order = loader.state_dict()["order"]
        loader.load_state_dict({"seed": 0, "epoch": 0, "samples": half, "order": order})
    elif kind == "stateful":
        batches = iter(loader)
        for _ in range(half // BATCH):
            next(batches)
        state, loader = loader.state_dict(), loader_of(kind, n)
        loader.load_state_dict(state)
    start = perf_counter()
    batches = iter(loader)
    for _ in range(half // BATCH if kind == "stock" else 0):
        next(batches)
    next(batches)
    return {"middle": perf_counter() - start}


def measure(kind, n, most):
    found = {}
    if kind == "ours" or n <= most:
        found |= in_a_process("first_batch", kind, n)
    if kind == "ours" or n <= min(most, MOST_SKIPPED):
        found |= in_a_process("middle", kind, n)
    return found


def in_a_process(what, kind, n):
    code = f"import sys, json; sys.path[:0] = {[str(PROJECT), str(Path(__file__).parent)]!r}\n"
    code += f"import data; print(json.dumps(data.{what}({kind!r}, {n})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 and lines else {}


def table(samples, most):
    """In markdown."""
    lines = ["## Many samples (`benchmarks/data.py`)", ""]
    lines += ["A dash: the list of an epoch's order takes tens of gigabytes, or minutes.", ""]
    lines.append("| samples | | s to the first batch | MB | s to go on in the middle |")
    lines.append("|--:|---|--:|--:|--:|")
    for n in samples:
        for kind, name in KINDS.items():
            if kind == "stateful" and find_spec("torchdata") is None:
                continue
            found = measure(kind, n, most)
            cells = [f"{found[key]:.3f}" if key in found else "-" for key in ("first", "middle")]
            megabytes = f"{found['memory']:,.0f}" if "memory" in found else "-"
            lines.append(f"| {n:,} | {name} | {cells[0]} | {megabytes} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = [10**3, 10**6, 10**9]
    parser.add_argument("--samples", nargs="+", type=int, default=default, metavar="N")
    parser.add_argument("--most", type=float, default=1e8, metavar="N")
    args = parser.parse_args(argv)
    print(table(args.samples, args.most))


if __name__ == "__main__":
    main()
