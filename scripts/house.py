"""Print how large the house is: the files that a default run executes, and what a batch crosses.

python scripts/house.py              of a project that is baked with the defaults
python scripts/house.py PROJECT      of this one
python scripts/house.py --check      exit with 1 where a target is missed

One epoch is trained with the config as it is, and all modules of the project that are imported by
the end count. Lines are those that are not blank. A batch is what happens between two moments at
which `_train_epoch` asks for a batch, the 15th and the next: the calls of the project's own
functions in their order, a generator that goes on being called anew, without comprehensions.
A change of file is a call that is in another file than the call before it; returns do not count.
"""

import argparse
import inspect
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
LOOP = [
    "train.py",
    "base/base_trainer.py",
    "trainer/trainer.py",
    "base/base_data_loader.py",
    "base/sampler.py",
]
OUTSIDE = ("tools/", "report.py", "model/", "data_loader/")  # of the core
BATCH = 15  # the tools look at the first ten, and leave all that follow alone
TARGETS = {"core": 2310, "loop": 700, "files": 7, "changes": 10}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("project", type=Path, nargs="?")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--trace", type=Path, help=argparse.SUPPRESS)  # in the process that trains
    args = parser.parse_args()
    if args.trace:
        return trace(args.trace)
    with TemporaryDirectory() as folder:
        if args.project is None:
            args.project = bake(Path(folder))
        found = run(args.project.resolve(), Path(folder) / "trace.json")
        figures = report(args.project, **found)
    too_large = [name for name, figure in figures.items() if figure > TARGETS[name]]
    if args.check and too_large:
        sys.exit(f"over the target: {', '.join(too_large)}")


def bake(folder):
    """A project with the defaults."""
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "--output-dir", folder]
    subprocess.run(command, check=True, capture_output=True)
    [project] = folder.iterdir()
    return project


def run(project, result):
    """What `trace` finds in a process of its own."""
    subprocess.run(
        [sys.executable, Path(__file__).resolve(), "--trace", result],
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return json.loads(result.read_text())


def trace(result):
    """Train for an epoch in this process, and write which files were executed, and the calls."""
    project = Path.cwd()
    batches = {}  # the calls of each batch
    is_own = {}

    def look(frame, event, _):
        code = frame.f_code
        if event != "call" or code.co_name in ("<listcomp>", "<dictcomp>", "<setcomp>"):
            return
        if code.co_filename not in is_own:
            is_own[code.co_filename] = Path(code.co_filename).is_relative_to(project)
        asks = code.co_flags & inspect.CO_GENERATOR and code.co_name != "<genexpr>"
        if asks and frame.f_back.f_code.co_name == "_train_epoch":
            if len(batches) == BATCH:
                return sys.setprofile(None)
            batches[len(batches) + 1] = []
        if batches and is_own[code.co_filename]:
            path = Path(code.co_filename).relative_to(project).as_posix()
            batches[len(batches)].append((path, code.co_name))

    sys.path[0] = str(project)
    sys.argv = ["train.py", "trainer.epochs=1", f"trainer.save_dir={result.parent}"]
    sys.setprofile(look)
    runpy.run_path("train.py", run_name="__main__")
    paths = [Path(module.__file__) for module in sys.modules.values() if is_file(module)]
    own = {one.relative_to(project).as_posix() for one in paths if one.is_relative_to(project)}
    result.write_text(json.dumps({"executed": sorted(own | {"train.py"}), "calls": batches[BATCH]}))


def is_file(module):
    return getattr(module, "__file__", None) is not None


def report(project, executed, calls):
    """Print the figures; those that have a target, by its name."""
    lines = {name: count_lines(project / name) for name in executed}
    core = {name: n for name, n in lines.items() if not name.startswith(OUTSIDE)}
    loop = {name: count_lines(project / name) for name in LOOP}
    way = [calls[0][0]]
    way += [new for (old, _), (new, _) in zip(calls, calls[1:], strict=False) if new != old]
    figures = {
        "core": sum(core.values()),
        "loop": sum(loop.values()),
        "files": len(set(way)),
        "changes": len(way) - 1,
    }
    print(f"a default run executes   {len(lines)} files, {sum(lines.values()):,} lines")
    print(f"of these the core        {len(core)} files, {goal('core', figures)} lines")
    for name, n in core.items():
        print(f"    {name:<30}{n:>6}")
    print(f"the loop                 {goal('loop', figures)} lines")
    for name, n in loop.items():
        print(f"    {name:<30}{n:>6}")
    print(f"a batch                  {len(calls)} calls, {goal('files', figures)} files, ", end="")
    print(f"{goal('changes', figures)} changes of file")
    for name in way:
        print(f"    {name}")
    return figures


def goal(name, figures):
    return f"{figures[name]:,} (at most {TARGETS[name]:,})"


def count_lines(path):
    """The lines that are not blank."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
