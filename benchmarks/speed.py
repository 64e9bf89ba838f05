"""What the loop of a baked project costs beside one written by hand, and what other trainers cost.

python benchmarks/speed.py                      everything; takes about half an hour
python benchmarks/speed.py --work tiny lenet    some of it
python benchmarks/speed.py --quick              does it work at all? takes seconds
python benchmarks/speed.py --victoresque PATH   also a checkout of victoresque/pytorch-template

The trainers are those that are installed: `pip install lightning accelerate pytorch-ignite
transformers torchtnt "setuptools<81"` brings all; victoresque's takes `"pandas<3"`. Each trains in
a process of its own, with one thread, and they take turns by epochs, of which the first is dropped;
a ratio is the median of those within the turns. Where things come to lie in memory makes a process
some percent faster or slower than the next, so each has several, one after the other. CPU time is
that of the main process, without workers. The project is baked afresh and logs to console, file,
CSV and TensorBoard; the others log nothing, except victoresque's. Results go to
benchmarks/results.md and results.svg.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter

HERE = Path(__file__).resolve().parent
OURS, BARE = "ours", "bare"
PACKAGES = {  # of the kinds that are no part of this repository
    "lightning": "lightning",
    "accelerate": "accelerate",
    "ignite": "pytorch-ignite",
    "transformers": "transformers",
    "torchtnt": "torchtnt",
}
NAMES = {
    BARE: "bare loop",
    "bare_stock": "bare loop, stock DataLoader",
    OURS: "this template",
    "lightning": "Lightning",
    "accelerate": "Accelerate",
    "ignite": "Ignite",
    "transformers": "Transformers' Trainer",
    "torchtnt": "torchtnt",
    "victoresque": "victoresque's template",
}
TITLES = {  # of what trains for some epochs: title, steps in an epoch
    "lenet": ("LeNet, 60,000 MNIST-shaped images, batch 128", 469),
    "tiny": ("Linear 32-10, batch 32, loss alone", 1000),
    "tiny_metrics": ("Linear 32-10, batch 32, with two metrics", 1000),
    "pictures": ("PNG files decoded one by one, batch 64, no workers", 100),
    "pictures_workers": ("PNG files decoded one by one, batch 64, 2 workers", 100),
    "resnet": ("ResNet-18's size, bf16, compiled, on a GPU", 100),
    "transformer": ("6 layers of width 512, 128 tokens, bf16, compiled, on a GPU", 100),
    "quick": ("Linear 32-10, batch 32, a smoke test", 100),
}
ON_GPU = ("resnet", "transformer")
WITH_METRICS = (BARE, OURS, "victoresque")  # the others have none of their own
LOADED = {  # for the loader alone: what, samples in an epoch
    "pictures": ("PNG files of 32 x 32 pixels in memory, decoded one by one", 6_400),
    "digits_one_by_one": ("MNIST-shaped bytes, one by one", 12_800),
    "digits": ("MNIST-shaped bytes, a batch at once (`__getitems__`)", 12_800),
}
EPOCHS_AS_CONFIGURED = 15
# Else glibc hands the memory of a step back and gets it anew, a sixth of LeNet's time, or does not:
# that depends on what else was allocated last, not on the loop
MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
OTHERS = ("configured", "loading", "start", "memory", "checkpoint", "data")


class Trainee:
    """A process that trains one kind, an epoch whenever it is told."""

    def __init__(self, kind, work, folders, before=(), **environment):
        path = {"PYTHONPATH": str(folders[kind])} if kind in folders else {}
        self.kind, self.errors = kind, TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "peers", kind, work],
            cwd=HERE,
            env={**os.environ, "OMP_NUM_THREADS": "1", **MEMORY, **path, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def answer(self):
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines() or ["without a word"]
        raise RuntimeError(f"{self.kind} has ended: {lines[-1]}")

    def turn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def in_turns(work, kinds, rounds, folders, processes=1):
    """The answers of each kind, `rounds` of them from each of its processes."""
    rows = {kind: [] for kind in kinds}
    for _ in range(processes):
        found = in_one_process_each(work, [*rows], rounds, folders)
        rows = {kind: rows[kind] + answers for kind, answers in found.items()}
    return rows


def in_one_process_each(work, kinds, rounds, folders):
    trainees, rows = {}, {}
    try:
        for kind in kinds:
            trainees[kind] = Trainee(kind, work, folders)
            try:
                trainees[kind].answer()
                trainees[kind].turn()
                rows[kind] = []
            except RuntimeError as error:
                if kind in (BARE, OURS):
                    raise
                print(f"left out: {error}", file=sys.stderr)
        for number in range(rounds):
            order = list(rows)
            for kind in order[number % len(order) :] + order[: number % len(order)]:
                rows[kind].append(trainees[kind].turn())
    finally:
        for trainee in trainees.values():
            trainee.close()
    return rows


def configured(folders):
    """In markdown: the two templates with the configs that come with them, on the same digits."""
    kinds = (OURS, "victoresque")
    rows = in_turns("configured", kinds, EPOCHS_AS_CONFIGURED - 1, folders)
    title = f"## As configured, on {4_000:,} real digits, {EPOCHS_AS_CONFIGURED} epochs"
    lines = [title, "", "| | seconds per epoch | accuracy on 1,000 others |", "|---|--:|--:|"]
    for kind, answers in rows.items():
        seconds, accuracy = median(one["wall"] for one in answers), answers[-1]["accuracy"]
        lines.append(f"| {NAMES[kind]} | {seconds:.2f} | {accuracy:.1%} |")
    return "\n".join(lines) + "\n"


def loading(rounds, folders):
    """In markdown: how many samples the project's loader gives in a second of one core."""
    lines = ["## The project's loader alone, without workers", "", "| | samples per second |"]
    lines.append("|---|--:|")
    for work, (what, n) in LOADED.items():
        trainee = Trainee("loading", work, folders)
        try:
            trainee.answer()
            seconds = [trainee.turn()["cpu"] for _ in range(rounds + 1)][1:]
        finally:
            trainee.close()
        lines.append(f"| {what} | {n / median(seconds):,.0f} |")
    return "\n".join(lines) + "\n"


def first_steps(kinds, rounds, folders):
    """Seconds from the start of a process to its first step."""
    rows = {kind: [] for kind in kinds}
    for number in range(rounds + 1) if rounds > 1 else [1]:
        for kind in kinds:
            start = perf_counter()
            trainee = Trainee(kind, "start", folders, FIRST_STEP="1")
            try:
                answer = trainee.answer()
                if number:  # the first reads the files from the disk
                    rows[kind].append({"wall": perf_counter() - start, **answer})
            except RuntimeError as error:
                print(f"left out: {error}", file=sys.stderr)
            finally:
                trainee.close()
    return {kind: values for kind, values in rows.items() if values}


def memory(folders, epochs):
    """Megabytes after some numbers of epochs, each with a checkpoint and all logs."""
    trainee = Trainee(OURS, "memory", folders)
    try:
        trainee.answer()
        answers = [trainee.turn()["memory"] / 1e6 for _ in range(epochs)]
    finally:
        trainee.close()
    return {n: answers[n - 1] for n in (epochs // 10, epochs // 4, epochs // 2, epochs)}


def summary(rows, key):
    """Of each kind: median, least and most, and the median ratio to the bare loop in each turn."""
    bare = [one[key] for one in rows[BARE]]
    for kind, answers in rows.items():
        values = [one[key] for one in answers]
        ratios = [value / base for value, base in zip(values, bare, strict=True)]
        yield kind, median(values), min(values), max(values), median(ratios)


def table(rows, title, steps=None):
    """In markdown: seconds by the clock, and CPU time, that of a step where there are `steps`."""
    unit, factor = ("CPU µs a step", 1e6 / steps) if steps else ("CPU s", 1)
    lines = [f"## {title}", "", f"| | seconds | least to most | ratio | {unit} | ratio |"]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    both = zip(summary(rows, "wall"), summary(rows, "cpu"), strict=True)
    for (kind, wall, least, most, ratio), (_, cpu, _, _, cpu_ratio) in both:
        cells = [NAMES[kind], f"{wall:.3f}", f"{least:.3f} to {most:.3f}", f"{ratio:.2f}"]
        cells += [f"{cpu * factor:.4g}", f"{cpu_ratio:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(found, path):
    """Bars of the CPU time beside that of the bare loop."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    shown = [work for work in ("lenet", "tiny", "quick") if work in found]
    if not shown:
        return
    figure, axes = pyplot.subplots(1, len(shown), figsize=(5 * len(shown), 3), squeeze=False)
    for axis, work in zip(axes[0], shown, strict=True):
        rows = sorted(summary(found[work], "cpu"), key=lambda row: -row[-1])
        colors = ["tab:orange" if kind == OURS else "tab:gray" for kind, *_ in rows]
        bars = axis.barh(
            [NAMES[kind] for kind, *_ in rows], [row[-1] for row in rows], color=colors
        )
        axis.bar_label(bars, fmt="%.2f", padding=2)
        axis.set_title(TITLES[work][0], fontsize=9)
        axis.set_xlabel("CPU time / bare loop")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def installed():
    """The version of each of the other trainers that is here."""
    found = {}
    for kind, package in PACKAGES.items():
        try:
            found[kind] = version(package)
        except PackageNotFoundError:
            pass
    return found


def bake(folder):
    """A project with the defaults, in a new folder."""
    from cookiecutter.main import cookiecutter

    return cookiecutter(str(HERE.parent), no_input=True, default_config=True, output_dir=folder)


def has_gpu():
    import torch

    return torch.cuda.is_available()


def kinds_for(work, others):
    if work in ON_GPU:
        return [BARE, OURS]
    if work == "tiny_metrics":
        return [BARE, OURS, *(kind for kind in others if kind in WITH_METRICS)]
    if work in ("pictures", "pictures_workers"):  # there is no tensor to index
        return [BARE, OURS, *(kind for kind in others if kind != "victoresque")]
    return [BARE, "bare_stock", OURS, *others]


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    works = [*TITLES, *OTHERS]
    parser.add_argument("--work", nargs="+", choices=works, metavar="WORK", help=", ".join(works))
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each that count (3)")
    parser.add_argument("--processes", type=int, default=3, help="processes of each kind (3)")
    parser.add_argument("--victoresque", type=Path, metavar="PATH", help="a checkout of it")
    parser.add_argument(
        "--output", type=Path, default=HERE, metavar="FOLDER", help="of the results"
    )
    parser.add_argument("--quick", action="store_true", help="the smallest run")
    args = parser.parse_args(argv)
    works = args.work or [work for work in works if work != "quick"]
    others, rounds, processes, epochs = installed(), args.rounds, args.processes, 200
    if args.quick:
        works, others, rounds, processes, epochs = ["quick", "start", "memory"], {}, 1, 1, 20
    if args.victoresque:
        others["victoresque"] = "as checked out"
    print(", ".join(f"{kind} {number}" for kind, number in others.items()) or "no others")
    args.output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        folders = dict.fromkeys((OURS, "loading"), bake(folder))
        if args.victoresque:
            folders["victoresque"] = args.victoresque.resolve()
        report(works, others, rounds, processes, epochs, folders, args.output)


def report(works, others, rounds, processes, epochs, folders, output):
    found, path = {}, output / "results.md"
    parts = {"": heading(others), **sections(path)}  # of what is not measured now, it stays
    if set(OTHERS) <= set(works):
        parts[""] = heading(others)

    def add(text):
        print(text, flush=True)
        title, _, content = text.partition("\n")
        parts[title] = f"{title}\n\nMeasured on {date.today()}.\n{content}"
        path.write_text("\n".join(parts.values()), encoding="utf-8")

    for work in works:
        if work in TITLES and (work not in ON_GPU or has_gpu()):
            title, steps = TITLES[work]
            kinds = kinds_for(work, others)
            found[work] = in_turns(work, kinds, rounds, folders, processes)
            add(table(found[work], title, steps))
    if "configured" in works and "victoresque" in folders:
        add(configured(folders))
    if "loading" in works:
        add(loading(rounds, folders))
    if "start" in works:
        kinds = [kind for kind in kinds_for("start", others) if kind != "bare_stock"]
        add(table(first_steps(kinds, rounds, folders), "From the start to the first step"))
    if "memory" in works:
        megabytes = memory(folders, epochs)
        cells = ", ".join(f"{value:.0f} MB after {n} epochs" for n, value in megabytes.items())
        add(f"## Memory of this template, with a checkpoint each epoch\n\n{cells}\n")
    if "checkpoint" in works:
        command = [sys.executable, str(HERE / "checkpoint.py")]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        add(f"## Checkpoints (`benchmarks/checkpoint.py`)\n\n```\n{text}```\n")
    if "data" in works:
        command = [sys.executable, str(HERE / "data.py")]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        add(text.strip() + "\n")
    plot(found, output / "results.svg")


def sections(path):
    """Those of earlier results by their titles; under an empty one, what stands before them."""
    if not path.exists():
        return {}
    first, *others = path.read_text(encoding="utf-8").split("\n## ")
    return {"": first} | {"## " + one.split("\n")[0]: "## " + one for one in others}


def heading(others):
    versions = {"Python": platform.python_version(), "torch": version("torch")}
    versions |= {PACKAGES.get(kind, kind): number for kind, number in others.items()}
    words = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        "# What training costs beside a loop written by hand\n\n"
        f"Written by `python benchmarks/speed.py`, which says how it measures, "
        f"with one thread of {os.cpu_count()} cores. {words}.\n\n"
        "![CPU time beside the bare loop](results.svg)\n"
    )


if __name__ == "__main__":
    main()
