"""What a project's start costs, and what its checks of the config add to `import torch`.

python benchmarks/start.py             the project in this repository, 7 repetitions
python benchmarks/start.py PATH 15     the project in the folder PATH, 15 repetitions

Each repetition is a process of its own with Python's bytecode cached, and the kinds take turns.
Other programs that run at the same time make all of it longer, the least values least of all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

PROJECT = Path(__file__).parent.parent / "{{cookiecutter.project_name}}"
# What train.py does before it touches data or device. Other libraries are imported first, to have
# their time apart.
STEPS = {
    "  other libraries that these need": "for name in sys.argv[1:]: import_module(name)",
    "  import train (parse_config, settings, utils.check ...)": "import parse_config, train",
    "  ConfigParser.from_file: read config.json and check it": "config = "
    "parse_config.ConfigParser.from_file(parse_config.default_config())",
    "  part_modules: import model, data_loader, trainer ...": "modules = train.part_modules()\n"
    "import trainer",
    "  check_parts: compare the config with their code": "config.check_parts(modules)",
}
TOTAL = "  sum: added to import torch"
TARGETS = {"python train.py --help": 150, TOTAL: 50}  # milliseconds
# Prints the seconds of each step, and which modules from outside the project they brought
PROBE = f"""
import json, os, sys, time, torch
from importlib import import_module
before, seconds = set(sys.modules), {{}}
for step, code in {STEPS!r}.items():
    start = time.perf_counter()
    exec(code)
    seconds[step] = time.perf_counter() - start
files = {{x: getattr(sys.modules[x], "__file__", None) for x in sys.modules if x not in before}}
others = [x for x, file in files.items() if file and not file.startswith(os.getcwd())]
print(json.dumps([seconds, others]))
"""


def main(project=PROJECT, repetitions=7):
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(*arguments):
        start = perf_counter()
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
        return perf_counter() - start, done

    _, done = run("-X", "importtime", "train.py", "--help")
    assert "| torch\n" not in done.stderr, "--help imports torch"
    others = json.loads(run("-c", PROBE)[1].stdout)[1]
    print("Other libraries, besides what torch imports:", ", ".join(others) or "none")

    rows = {}
    for _ in range(int(repetitions)):
        for arguments in (["-c", "pass"], ["train.py", "--help"], ["-c", "import torch"]):
            rows.setdefault(f"python {' '.join(arguments)}", []).append(run(*arguments)[0])
        seconds = json.loads(run("-c", PROBE, *others)[1].stdout)[0]
        for name, value in {**seconds, TOTAL: sum(seconds.values())}.items():
            rows.setdefault(name, []).append(value)
    print(f"{'milliseconds':<58}{'median':>8}{'least':>8}{'most':>8}{'target':>8}")
    for name, values in rows.items():
        cells = "".join(f"{1000 * f(values):8.1f}" for f in (median, min, max))
        print(f"{name:<58}{cells}{TARGETS.get(name, ''):>8}")


if __name__ == "__main__":
    main(*sys.argv[1:])
