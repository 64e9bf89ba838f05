"""What the loop costs beside one written by hand, in instructions of the processor, not in time.

python benchmarks/instructions.py                 a minute or two for each trainer that is installed
python benchmarks/instructions.py bare ours       of these two alone
python benchmarks/instructions.py --work tiny     one of the three works

valgrind counts them (`apt install valgrind`), in an epoch after one to warm up. A count is the same
from run to run within a thousandth, whatever else the machine does: it shows a change of the loop
that no clock can show. It is no time, as some instructions take longer: speed.py measures that.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from speed import NAMES, OURS, TITLES, Trainee, bake, installed, kinds_for

WORKS = ("tiny", "tiny_metrics", "pictures")


def count(kind, work, folders, scratch):
    """The instructions of the second epoch."""
    counts = Path(scratch) / "counts"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
    valgrind.append(f"--callgrind-out-file={counts}")
    trainee = Trainee(kind, work, folders, before=valgrind, PYTHONHASHSEED="0")
    try:
        trainee.answer()
        trainee.turn()
        control("--instr=on", trainee)
        trainee.turn()
        control("--dump", trainee)
    finally:
        trainee.close()
    text = counts.with_name("counts.1").read_text()
    return int(re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)[1])


def control(what, trainee):
    command = ["callgrind_control", what, str(trainee.process.pid)]
    subprocess.run(command, check=True, capture_output=True)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(NAMES))
    parser.add_argument("--work", nargs="+", choices=(*WORKS, "quick"), default=WORKS)
    args = parser.parse_args(argv)
    if shutil.which("valgrind") is None:
        sys.exit("valgrind counts the instructions, and is not installed")
    with TemporaryDirectory() as scratch:
        folders = {OURS: bake(scratch)}
        for work in args.work:
            title, steps = TITLES[work]
            print(f"\n{title}: thousands of instructions in a step, and beside the first")
            base = None
            for kind in args.kinds or kinds_for(work, installed()):
                number = count(kind, work, folders, scratch) / steps / 1000
                base = base or number
                print(f"{NAMES[kind]:28} {number:6.0f} {number / base:6.3f}", flush=True)


if __name__ == "__main__":
    main()
