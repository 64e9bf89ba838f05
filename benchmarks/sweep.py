"""What a trial of sweep.py takes beside the bare train.py, with its start.

python benchmarks/sweep.py             3 repetitions on a project with the starter "minimal"
python benchmarks/sweep.py 5           5 repetitions
python benchmarks/sweep.py 1 2 3       1 repetition, by sweeps of 2 seeds and of 3

A trial is one training of one epoch. The time of a trial is that of a sweep with 7 seeds less that
of one with 2, over 5: so what a sweep takes once is apart. Trainings start as copies of a process
that has imported torch, which is what sweep.py does, or as fresh processes. The kinds take turns.
Other programs that run at the same time make the time longer, and the CPU time (of all processes,
with the least of all turns shown) a little. Linux only.
"""

import ctypes
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
FEW, MANY = 2, 7
SUBREAPER = 36  # of Linux's prctl
TARGET = 0.3  # seconds that a trial may take more than train.py
OPTIONS = ["trainer.epochs=1", "trainer.report=false"]
FRESH = """
import multiprocessing, sys
import sweep
from tools import work
work.new_context = lambda: multiprocessing.get_context("spawn")
if __name__ == "__main__":
    sweep.main()
"""
KINDS = {"copies of a process with torch": "sweep.py", "fresh processes": "fresh.py"}


def main(repetitions=3, few_seeds=FEW, many_seeds=MANY):
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # what a sweep leaves comes to this process
    names = ["python train.py", *(f"a trial, {kind}" for kind in KINDS)]
    names += [f"a sweep once, {kind}" for kind in KINDS]
    found = {name: [] for name in names}
    with TemporaryDirectory() as folder:
        project = bake(Path(folder))
        (project / "fresh.py").write_text(FRESH, encoding="utf-8")
        for turn in range(repetitions):
            found["python train.py"].append(measure(project, "train.py"))
            for kind, script in KINDS.items():
                name = f"{Path(script).stem}{turn}"
                few, many = (
                    measure(project, script, "--seeds", str(n), "--name", f"{name}_{n}")
                    for n in (few_seeds, many_seeds)
                )
                trial = [(b - a) / (many_seeds - few_seeds) for a, b in zip(few, many, strict=True)]
                found[f"a trial, {kind}"].append(trial)
                once = [a - few_seeds * b for a, b in zip(few, trial, strict=True)]
                found[f"a sweep once, {kind}"].append(once)
    print("| | seconds, median | CPU seconds, least | over train.py |\n|---|---|---|---|")
    bare = min(cpu for _, cpu in found["python train.py"])
    for name, turns in found.items():
        wall, cpu = median(one[0] for one in turns), min(one[1] for one in turns)
        over = f"{cpu - bare:+.2f}" if "once" not in name else ""
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {over} |")
    print(f"\nThe target for a trial is {TARGET:+.1f} s over train.py")


def bake(folder):
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "--output-dir", folder]
    command += ["starter=minimal", "size=full"]
    subprocess.run(command, check=True, capture_output=True)
    [project] = folder.iterdir()
    return project


def measure(project, *arguments):
    """The seconds that a command takes, and the CPU seconds of all its processes."""
    start, before = perf_counter(), cpu_seconds()
    command = [sys.executable, *arguments, *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
    took = perf_counter() - start
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return took, cpu_seconds() - before


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
